import { mkdir, readdir, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { acquireLock, isHeld } from '../../../dist/cache/lock.js';
import { startChild } from '../../fixtures/cache/child.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const folder = await temporaryFolder();
let locks = 0;
/** The shortest that there is: locks are renewed every second. */
const staleMs = 2000;
/** The path of a lock, in a folder of its own. */
async function lockPath(): Promise<string> {
  const place = join(folder, `${locks++}`);
  await mkdir(place);
  return join(place, 'a.lock');
}
const renewed = async (path: string) => (await stat(path)).mtimeMs;
/** Resolves when the holder has renewed the lock so many times. */
async function renewals(path: string, count: number): Promise<void> {
  for (let seen = await renewed(path); count > 0; count--) {
    while ((await renewed(path)) === seen) await new Promise((resolve) => setTimeout(resolve, 20));
    seen = await renewed(path);
  }
}
const minutesAgo = (minutes: number) => new Date(Date.now() - minutes * 60_000);

describe('acquireLock()', () => {
  test('is held by one at a time, in one process, and leaves nothing', async () => {
    const path = await lockPath();
    let holders = 0;
    let most = 0;
    const use = async () => {
      const lock = await acquireLock(path);
      most = Math.max(most, ++holders);
      await new Promise((resolve) => setTimeout(resolve, 5));
      holders--;
      await lock.release();
    };
    await Promise.all([use(), use(), use(), use()]);
    expect(most).toBe(1);
    expect(await readdir(join(path, '..'))).toEqual([]);
  });

  test('waits for another process as long as that lives, though its clock is slow, and is aborted at once', async () => {
    const path = await lockPath();
    const holder = startChild('holder.mjs', { path, staleMs, slowMs: 5 * staleMs });
    await holder.printed('held');
    const controller = new AbortController();
    const reason = new Error('enough');
    const waiting = acquireLock(path, { signal: controller.signal, staleMs });
    let settled = false;
    const watched = waiting.finally(() => (settled = true)).catch(() => {});
    // More than staleMs.
    await renewals(path, 4);
    expect(settled).toBe(false);
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await watched;
    holder.send();
    expect(await holder.exited).toEqual({ code: 0, signal: null });
  });

  test('does not start to wait when it is aborted already', async () => {
    const path = await lockPath();
    const reason = new Error('enough');
    await expect(acquireLock(path, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(await readdir(join(path, '..'))).toEqual([]);
  });

  test('a process that ends normally is not kept alive by its lock, and leaves none', async () => {
    const path = await lockPath();
    const holder = startChild('holder.mjs', { path });
    await holder.printed('held');
    holder.send();
    expect(await holder.exited).toEqual({ code: 0, signal: null });
    expect(await readdir(join(path, '..'))).toEqual([]);
  });

  test('is taken over from a process that was killed, by one of those that wait', async () => {
    const path = await lockPath();
    const holder = startChild('holder.mjs', { path, staleMs });
    await holder.printed('held');
    const first = startChild('holder.mjs', { path, staleMs });
    const second = startChild('holder.mjs', { path, staleMs });
    holder.kill('SIGKILL');
    await holder.exited;
    expect(await readdir(join(path, '..'))).toEqual(['a.lock']);
    const taken = await Promise.race([first, second].map((child) => child.printed('held').then(() => child)));
    const other = taken === first ? second : first;
    // Any second holder would show itself within this time.
    await renewals(path, 3);
    expect(other.lines).toEqual([]);
    expect(taken.lines).toEqual(['held']);
    taken.send();
    await other.printed('held');
    other.send();
    await other.exited;
    expect(await readdir(join(path, '..'))).toEqual([]);
  });

  test('tells a process that was suspended too long that it lost the lock, and its end leaves the new one alone', async () => {
    const path = await lockPath();
    const holder = startChild('holder.mjs', { path, staleMs });
    await holder.printed('held');
    holder.kill('SIGSTOP');
    const lock = await acquireLock(path, { staleMs });
    holder.kill('SIGCONT');
    await holder.printed('lost');
    holder.send();
    expect(await holder.exited).toEqual({ code: 0, signal: null });
    expect(lock.lost.aborted).toBe(false);
    expect(await readdir(join(path, '..'))).toEqual(['a.lock']);
    await lock.release();
  });

  test('takes over at once what was left long ago, even by versions that locked with files', async () => {
    for (const make of [mkdir, (path: string) => writeFile(path, '999999999')]) {
      const path = await lockPath();
      await make(path);
      await utimes(path, minutesAgo(10), minutesAgo(10));
      // With a time for which no test waits.
      await (await acquireLock(path, { staleMs: 48_000 })).release();
      expect(await readdir(join(path, '..'))).toEqual([]);
    }
  });

  test('rejects where no lock can be made', async () => {
    await expect(acquireLock(join(folder, 'none', 'a.lock'))).rejects.toMatchObject({ code: 'ENOENT' });
    await writeFile(join(folder, 'file'), '');
    await expect(acquireLock(join(folder, 'file', 'a.lock'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  });
});

test('isHeld() tells locks that are held from those that were left long ago, and removes the latter', async () => {
  const path = await lockPath();
  expect(await isHeld(path)).toBe(false);
  const lock = await acquireLock(path);
  expect(await isHeld(path)).toBe(true);
  await lock.release();
  await mkdir(path);
  await utimes(path, minutesAgo(10), minutesAgo(10));
  expect(await isHeld(path)).toBe(false);
  expect(await readdir(join(path, '..'))).toEqual([]);
});
