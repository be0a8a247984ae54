// Opens files of users. A path may also lead to a named pipe, which would keep a thread waiting, or to a device, which may
// have no end.
import { constants, type Stats } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { LongVLMError } from './errors.js';
import { fileError } from './fileError.js';
import { printable } from './printable.js';

/** Flags for reading that do not wait for the writer of a named pipe. Windows has no O_NONBLOCK. */
export const READ_FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/**
 * Opens a file for reading. Use it for every path that a user gives.
 *
 * @throws LongVLMError `ERR_LONGVLM_FILE` when `path` is missing, cannot be read, or is no regular file.
 */
export async function openRegularFile(path: string): Promise<FileHandle> {
  await statRegularFile(path);
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

/** Describes a file without opening it. @throws as {@link openRegularFile} */
export async function statRegularFile(path: string): Promise<Stats> {
  const found = await stat(path).catch((error: unknown) => Promise.reject(fileError(path, error)));
  checkRegular(path, found);
  return found;
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
