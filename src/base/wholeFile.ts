import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';

/** The ending of temporary file names. */
export const temporaryEnding = '.tmp';

/** A unique temporary name that starts with `path`, so the file is in the same folder. */
export function temporaryPath(path: string): string {
  return `${path}.${randomBytes(6).toString('hex')}${temporaryEnding}`;
}

/**
 * Writes a file atomically: under a temporary name in the same folder, then renamed over `path`.
 * @param write called with the empty file
 * @throws errors of the operating system, and errors from `write`; the temporary file is removed then
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
