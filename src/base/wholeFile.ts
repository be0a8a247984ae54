import type { Stats } from 'node:fs';
import { type FileHandle, lstat, open, rename, rm, stat } from 'node:fs/promises';
import { absolutePath } from './absolutePath.js';
import { removeAfterDeath } from './caretaker.js';
import { LongVLMError } from './errors.js';
import { fileError, isMissing } from './fileError.js';
import { printable } from './printable.js';
import { beginningOf } from './regularFile.js';
import { removeAbandoned, temporaryPath } from './temporaryName.js';
import { writeError } from './writeError.js';

/**
 * Writes a file atomically: under a temporary name in the same folder, then renamed over `path`. Removes what killed processes
 * left while they wrote the same file.
 * @param write called with the empty file
 * @throws LongVLMError `ERR_LONGVLM_FILE` when it cannot be written, and errors from `write`; the temporary file is removed then
 */
export async function writeWholeFile(path: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  await checkReplaceable(path);
  await removeAbandoned(path);
  const temporary = temporaryPath(path);
  const keep = removeAfterDeath(absolutePath(temporary));
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
    await rm(temporary, { force: true }).catch(() => {});
    // Errors with a `syscall` concern the file.
    throw (error as NodeJS.ErrnoException | undefined)?.syscall === undefined ? error : writeError(path, error);
  } finally {
    keep();
  }
}

/**
 * Checks that there is nothing at `path`, or a file or a link to one.
 * @throws LongVLMError `ERR_LONGVLM_FILE` for a folder, a pipe or a device, which must not be replaced, for a link to what
 *   cannot be told, and for no path
 */
export async function checkReplaceable(path: string): Promise<void> {
  if (path.includes('\0'))
    throw new LongVLMError(
      'ERR_LONGVLM_FILE',
      `${printable(path)} cannot be written: a path cannot hold a zero byte. Check the path.`,
    );
  const found = await lstat(path).catch(() => undefined);
  const target = found?.isSymbolicLink() ? await linked(path) : found;
  if (target === undefined || target.isFile()) return;
  const kind = target.isDirectory() ? 'folder' : target.isFIFO() ? 'named pipe' : 'device or socket';
  throw new LongVLMError('ERR_LONGVLM_FILE', `${path} is a ${kind}, not a file. Choose another name for the output.`);
}

/** What a link leads to; undefined when that is missing. */
async function linked(path: string): Promise<Stats | undefined> {
  return stat(path).catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw fileError(path, error);
  });
}

/**
 * Checks that a file of a kind may take the place of what is at `path`: there is nothing, it is empty, or of that kind.
 * @param kind what errors call it
 * @param beginning how many bytes tell it
 * @throws LongVLMError `ERR_LONGVLM_FILE`, also for what cannot be read
 */
export async function checkReplacing(
  path: string,
  kind: string,
  beginning: number,
  isOne: (bytes: Buffer) => boolean,
): Promise<void> {
  await checkReplaceable(path);
  const found = await beginningOf(path, beginning);
  if (found === undefined || found.length === 0 || isOne(found)) return;
  throw new LongVLMError(
    'ERR_LONGVLM_FILE',
    `${path} exists and holds no ${kind}, so it is not replaced. Remove it, or choose another name.`,
  );
}
