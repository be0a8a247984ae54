// What a lock is on the disk: a folder that holds at most an empty file, whose name is the mark of the process that made it.
import * as fs from 'node:fs';
import { readdir, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { descriptorCause } from '../base/descriptors.js';
import { markPattern, ownerOf, ownMark } from '../base/owner.js';

type Done = (error: NodeJS.ErrnoException | null) => void;

const mark = new RegExp(`^${markPattern}$`);

/** The file system as proper-lockfile takes it: locks are made with a mark, and only with that removed. */
export const markingFileSystem: object = {
  ...fs,
  mkdir(path: string, done: Done): void {
    fs.mkdir(path, (error) => {
      if (error || !isTelling(ownMark())) done(error);
      // Where it cannot be written, waiters find out by time that this process is dead.
      else fs.writeFile(join(path, ownMark()), '', { flag: 'wx' }, () => done(null));
    });
  },
  rmdir(path: string, done: Done): void {
    fs.unlink(join(path, ownMark()), () => fs.rmdir(path, done));
  },
  rmdirSync(path: string): void {
    fs.rmSync(join(path, ownMark()), { force: true });
    fs.rmdirSync(path);
  },
};

/**
 * The mark in a folder, `none` where there is none to be seen; undefined when the folder is no lock.
 * @throws the operating system's error without descriptors
 */
export async function markIn(path: string): Promise<string | undefined> {
  const names = await readdir(path).catch((error: unknown) => {
    if (descriptorCause(error)) throw error;
    return [];
  });
  if (names.length === 0) return 'none';
  return names.length === 1 && mark.test(names[0]!) ? names[0] : undefined;
}

/**
 * Removes a lock whose mark says that its process is dead.
 * @returns false when that is not known, and when another one was quicker
 */
export async function removeDead(path: string, found: string): Promise<boolean> {
  if (found === 'none' || (await ownerOf(found, path)) !== 'gone') return false;
  try {
    // Of several that see it, one succeeds; and a newer lock has another mark.
    await unlink(join(path, found));
    await rmdir(path);
    return true;
  } catch {
    return false;
  }
}

/** Where nothing but the host's name tells where a process runs, another host may have the same. */
function isTelling(own: string): boolean {
  return !own.endsWith('-0');
}
