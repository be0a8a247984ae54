// Opens files of users. A path may also lead to a named pipe, which would keep a thread waiting, or to a device, which may
// have no end.
import { constants, type Stats } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { LongVLMError } from './errors.js';
import { fileError, isMissing } from './fileError.js';
import { printable } from './printable.js';

/** Flags for reading that do not wait for the writer of a named pipe. Windows has no O_NONBLOCK. */
export const READ_FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/**
 * Opens a file for reading. Use it for every path that a user gives.
 *
 * @throws LongVLMError `ERR_LONGVLM_FILE` when `path` is missing, cannot be read, or is no regular file.
 */
export async function openRegularFile(path: string): Promise<FileHandle> {
  await checkThere(path);
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, READ_FLAGS);
    // The path may lead elsewhere by now.
    checkRegular(path, await handle.stat());
    return handle;
  } catch (error) {
    await handle?.close();
    throw error instanceof LongVLMError ? error : fileError(path, error);
  }
}

/**
 * The first bytes of a file: as many as there are, up to `count`.
 * @throws as {@link openRegularFile}
 */
export async function readBeginning(path: string, count: number): Promise<Buffer<ArrayBuffer>> {
  const handle = await openRegularFile(path);
  try {
    const { size } = await handle.stat();
    const bytes = Buffer.alloc(Math.min(size, count));
    let done = 0;
    while (done < bytes.length) {
      const { bytesRead } = await handle.read(bytes, done, bytes.length - done, done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return bytes.subarray(0, done);
  } catch (error) {
    throw fileError(path, error);
  } finally {
    await handle.close();
  }
}

/** As {@link readBeginning}; undefined where there is no such file. */
export async function beginningOf(path: string, count: number): Promise<Buffer | undefined> {
  return readBeginning(path, count).catch((error: Error) => {
    if (isMissing(error.cause ?? error)) return undefined;
    throw error;
  });
}

/** All of a file; undefined if it has more than `maxBytes`. @throws as {@link openRegularFile} */
export async function readSmallFile(path: string, maxBytes: number): Promise<Buffer<ArrayBuffer> | undefined> {
  const bytes = await readBeginning(path, maxBytes + 1);
  return bytes.length > maxBytes ? undefined : bytes;
}

/** Whether there is something at `path`, of any kind. */
export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => !isMissing(error),
  );
}

/** Whether there is a folder at `path`. */
export async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

async function checkThere(path: string): Promise<void> {
  const found = await stat(path).catch((error: unknown) => Promise.reject(fileError(path, error)));
  checkRegular(path, found);
}

/** @throws LongVLMError `ERR_LONGVLM_FILE` when what is at `path` is no regular file */
export function checkRegular(path: string, found: Stats): void {
  if (found.isFile()) return;
  const is = found.isDirectory()
    ? 'a folder'
    : found.isFIFO()
      ? 'a named pipe or a stream'
      : found.isSocket()
        ? 'a socket'
        : 'a device';
  const remedy = found.isDirectory() ? 'Give the path of a file.' : 'Save its content to a file, and give that.';
  throw new LongVLMError('ERR_LONGVLM_FILE', `${printable(path)} is ${is}, not a file. ${remedy}`);
}
