// Locks that hold between processes and between hosts that share a folder.
import type { Stats } from 'node:fs';
import { lstat, readFile, rename } from 'node:fs/promises';
import { lock } from 'proper-lockfile';
import { LongVLMError } from '../base/errors.js';
import { removeTemporary, temporaryPath } from '../base/temporaryName.js';
import { wait } from '../base/wait.js';
import { markIn, markingFileSystem, removeDead } from './lockFolder.js';

/** How the names of lock folders end. */
export const lockEnding = '.lock';

const defaultStaleMs = 10_000;
const pollMs = 200;
// The clocks of two hosts differ by less than this many times `staleMs`.
const clockMargin = 12;

/** Options of {@link acquireLock}. */
export type LockOptions = {
  readonly signal?: AbortSignal | undefined;
  /**
   * Time without a sign of life after which a holder is taken for dead that is not known to be, at least 2000. Defaults to
   * 10,000.
   */
  readonly staleMs?: number | undefined;
};

/** A lock that is held. */
export type Lock = {
  /** Aborts when another process took the lock over, because this one was suspended or blocked for too long. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
};

/**
 * Waits until no other process holds the lock, and takes it. A lock is a folder whose modification time its holder renews. A
 * waiter takes over at once when the mark in it is of a process of this machine that is gone, and else when it sees no change
 * for `staleMs`: then the holder was killed. Only changes are compared, never clocks: hosts need not agree on the time.
 *
 * @param path where the lock folder is made; the folder around it must exist
 * @throws the operating system's error when the lock folder cannot be made; LongVLMError `ERR_LONGVLM_FILE` when something else
 *   is in its place; `signal.reason` as soon as it aborts
 */
export async function acquireLock(path: string, options: LockOptions = {}): Promise<Lock> {
  const { signal, staleMs = defaultStaleMs } = options;
  let seen: number | undefined;
  let unchanged = 0;
  for (;;) {
    signal?.throwIfAborted();
    const acquired = await tryLock(path, staleMs);
    if (acquired) return acquired;
    const held = await look(path);
    if (held === undefined || (await removeDead(path, held.mark))) continue;
    const { renewed } = held;
    const found = seen === undefined;
    unchanged = renewed === seen ? unchanged + 1 : 0;
    seen = renewed;
    // Looks are counted, not time: when the whole machine was asleep, the holder gets its chance to renew the lock.
    if (unchanged * pollMs >= staleMs || (found && isLongAgo(renewed, staleMs))) await remove(path, renewed);
    else await wait(pollMs, signal);
  }
}

/**
 * Removes a lock whose holder is known to be dead, or must be as it was not renewed for so long, whatever the clocks.
 * @returns whether the lock is still held
 */
export async function isHeld(path: string, staleMs = defaultStaleMs): Promise<boolean> {
  const held = await look(path);
  if (held === undefined || (await removeDead(path, held.mark))) return false;
  if (!isLongAgo(held.renewed, staleMs)) return true;
  await remove(path, held.renewed);
  return false;
}

function isLongAgo(renewed: number, staleMs: number): boolean {
  return Date.now() - renewed > clockMargin * staleMs;
}

/** Undefined when another process holds it. */
async function tryLock(path: string, staleMs: number): Promise<Lock | undefined> {
  const lost = new AbortController();
  try {
    const release = await lock(path, {
      lockfilePath: path,
      realpath: false,
      fs: markingFileSystem,
      // The package would compare this host's clock with the holder's.
      stale: Number.POSITIVE_INFINITY,
      update: staleMs / 4,
      onCompromised: (error) => lost.abort(error),
    });
    // A lock that cannot be removed, or was taken over, is one that the next waiter deals with.
    return { lost: lost.signal, release: () => release().catch(() => {}) };
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    // The second: made, and moved away at once by a waiter that took it for the one before.
    if (code === 'ELOCKED' || (code === 'ENOENT' && syscall !== 'mkdir')) return undefined;
    throw error;
  }
}

/**
 * A lock's mark, and when it was last renewed; undefined when there is no lock.
 * @throws LongVLMError `ERR_LONGVLM_FILE` when something else is in its place; the operating system's error
 */
async function look(path: string): Promise<{ readonly mark: string; readonly renewed: number } | undefined> {
  // First: on NFS, times may be a minute old unless the folder was opened just before.
  const mark = await markIn(path);
  let found: Stats;
  try {
    found = await lstat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  if (mark !== undefined && (found.isDirectory() || (await isOldLock(path, found))))
    return { mark, renewed: found.mtimeMs };
  throw new LongVLMError(
    'ERR_LONGVLM_FILE',
    `${path} is in the place of a lock, and is none. Move it away, or choose another folder.`,
  );
}

/** Versions before locked with files that hold the number of a process. */
async function isOldLock(path: string, found: Stats): Promise<boolean> {
  if (!found.isFile() || found.size > 20) return false;
  return /^\d*$/.test(await readFile(path, 'utf8').catch(() => ''));
}

/** Removes the lock that was last renewed at that time, and no other. */
async function remove(path: string, renewed: number): Promise<void> {
  const aside = temporaryPath(path);
  try {
    // Of several waiters, one succeeds.
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const another = (await look(aside).catch(() => undefined))?.renewed !== renewed;
  // A waiter that was quicker has locked it anew.
  if (another) await rename(aside, path).catch(() => {});
  await removeTemporary(aside);
}
