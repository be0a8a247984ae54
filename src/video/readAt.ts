import type { FileHandle } from 'node:fs/promises';
import { openRegularFile } from '../base/regularFile.js';

/** Reads `length` bytes of a file at `offset`; fewer at its end. */
export type ReadAt = (offset: number, length: number) => Promise<Buffer>;

/** Finds something in a file by a few reads. What cannot be read, or throws, gives `otherwise`: whoever decodes the file reports what is wrong with it. */
export async function findInFile<T>(path: string, otherwise: T, find: (readAt: ReadAt) => Promise<T>): Promise<T> {
  let file: FileHandle | undefined;
  try {
    file = await openRegularFile(path);
    const handle = file;
    return await find(async (offset, length) => {
      const buffer = Buffer.alloc(length);
      const { bytesRead } = await handle.read(buffer, 0, length, offset);
      return buffer.subarray(0, bytesRead);
    });
  } catch {
    return otherwise;
  } finally {
    await file?.close();
  }
}
