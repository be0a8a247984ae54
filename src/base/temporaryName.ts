// Names of temporary files tell whose they are: so what a killed process left is known from what another one is writing.
import { createHash, randomBytes } from 'node:crypto';
import { lstat, readdir, rm, rmdir, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { markPattern, ownerOf, ownMark } from './owner.js';

/** The ending of temporary file names. */
export const temporaryEnding = '.tmp';

// Names may have 255 bytes.
const longestName = 190;
const tag = new RegExp(`\\.longvlm-(${markPattern})-[0-9a-f]{12}\\.tmp$`);
const mark = new RegExp(`^${markPattern}$`);
// Names without a mark, which older releases gave.
const oldTag = /\.[0-9a-z]{1,12}\.tmp$/;

/** A unique temporary name of this process for writing `path`, in the same folder. */
export function temporaryPath(path: string): string {
  return join(dirname(path), `${stem(path)}.longvlm-${ownMark()}-${randomBytes(6).toString('hex')}.tmp`);
}

/** The name in whose place the file of a temporary name is made; undefined for other names. */
export function targetOf(name: string): string | undefined {
  const [ending] = tag.exec(name) ?? oldTag.exec(name) ?? [];
  return ending === undefined ? undefined : name.slice(0, -ending.length);
}

/** Whether the process that a temporary file belongs to is gone, as {@link ownerOf} tells. */
export function writerOf(path: string): ReturnType<typeof ownerOf> {
  return ownerOf(tag.exec(basename(path))?.[1], path);
}

/**
 * Removes the temporary files that killed processes left while they wrote `path`.
 * @returns the temporary files for it that may still be written
 */
export async function removeAbandoned(path: string): Promise<string[]> {
  const folder = dirname(path);
  const name = stem(path);
  const living: string[] = [];
  for (const found of await readdir(folder).catch(() => [])) {
    // A name without a mark may be the user's own.
    if (!tag.test(found) || targetOf(found) !== name) continue;
    const file = join(folder, found);
    if ((await writerOf(file)) === 'gone') await removeTemporary(file);
    else living.push(file);
  }
  return living;
}

/** Removes a temporary file, or a folder with nothing but marks of processes in it; never what a link leads to. */
export async function removeTemporary(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isDirectory()) {
    for (const name of await readdir(path).catch(() => []))
      if (mark.test(name)) await unlink(join(path, name)).catch(() => {});
    await rmdir(path).catch(() => {});
  } else if (found?.isFile()) await rm(path, { force: true }).catch(() => {});
}

function stem(path: string): string {
  const name = basename(path);
  if (Buffer.byteLength(name) <= longestName) return name;
  return createHash('sha256').update(name).digest('hex');
}
