import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';

/** How temporary names end. */
export const temporaryEnding = '.tmp';

/** A name that nobody else uses, in the same folder as `path` and starting as it does. */
export function temporaryPath(path: string): string {
  return `${path}.${randomBytes(6).toString('hex')}${temporaryEnding}`;
}

/**
 * Writes a file, all or nothing: under a temporary name in the same folder, then renamed over `path`.
 * @param write gets the empty file
 * @throws what the operating system says, or what `write` throws; no temporary file is left then
 */
export async function writeWholeFile(path: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  const temporary = temporaryPath(path);
  try {
    const handle = await open(temporary, 'wx');
    try {
      await write(handle);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
