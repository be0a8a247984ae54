import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

const ending = '.tmp';
/** Nobody writes a file for so long: who began was ended. */
export const abandonedMs = 24 * 3600 * 1000;

/**
 * Writes a file, all or nothing: under a temporary name in the same folder, then renamed over `path`.
 * @param write gets the empty file
 * @throws what the operating system says, or what `write` throws; no temporary file is left then
 */
export async function writeWholeFile(path: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}${ending}`;
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

/**
 * Removes from a folder what processes that were ended left of {@link writeWholeFile}.
 * @param olderThan milliseconds since 1970; what was written to later stays. Defaults to none
 */
export async function removeHalfWritten(folder: string, olderThan = Number.POSITIVE_INFINITY): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.endsWith(ending)) continue;
    const file = join(folder, name);
    const found = await stat(file).catch(() => undefined);
    if (found && found.mtimeMs < olderThan) await rm(file, { force: true }).catch(() => {});
  }
}
