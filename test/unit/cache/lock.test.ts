import { mkdir, readdir, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ownMark } from '../../../dist/base/owner.js';
import { acquireLock, isHeld } from '../../../dist/cache/lock.js';
import { startChild } from '../../fixtures/cache/child.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const folder = await temporaryFolder();
let locks = 0;
/** The shortest that there is: locks are renewed every second. */
const staleMs = 2000;
/** A time for which no test waits. */
const never = 48_000;
const onLinux = process.platform === 'linux';
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

  test.runIf(onLinux)(
    'is taken over at once from a process of this machine that was killed, by one of those that wait',
    async () => {
      const path = await lockPath();
      const holder = startChild('holder.mjs', { path, staleMs: never });
      await holder.printed('held');
      holder.kill('SIGKILL');
      await holder.exited;
      expect(await readdir(join(path, '..'))).toEqual(['a.lock']);
      let holders = 0;
      const use = async () => {
        const lock = await acquireLock(path, { staleMs: never });
        expect(++holders).toBe(1);
        await new Promise((resolve) => setTimeout(resolve, 5));
        holders--;
        expect(lock.lost.aborted).toBe(false);
        await lock.release();
      };
      await Promise.all([use(), use(), use(), use()]);
      expect(await readdir(join(path, '..'))).toEqual([]);
    },
  );

  test.runIf(onLinux)('a process that has the number of a dead one is not taken for it', async () => {
    const path = await lockPath();
    await mkdir(path);
    await writeFile(join(path, ownMark().replace(/[^-]*$/, '1')), '');
    await (await acquireLock(path, { staleMs: never })).release();
    expect(await readdir(join(path, '..'))).toEqual([]);
  });

  test('is taken over by time from a process of another host, by one of those that wait', async () => {
    const path = await lockPath();
    const holder = startChild('holder.mjs', { path, staleMs });
    await holder.printed('held');
    holder.kill('SIGKILL');
    await holder.exited;
    const [mark] = await readdir(path);
    if (onLinux) expect(mark).toMatch(/^[0-9a-f]{8}-/);
    if (mark) await rename(join(path, mark), join(path, mark.replace(/^.{8}/, '01234567')));
    const left = await renewed(path);
    const first = startChild('holder.mjs', { path, staleMs });
    const second = startChild('holder.mjs', { path, staleMs });
    const taken = await Promise.race([first, second].map((child) => child.printed('held').then(() => child)));
    expect((await renewed(path)) - left).toBeGreaterThan(staleMs);
    const other = taken === first ? second : first;
    // Any second holder would show itself within this time.
    await renewals(path, 2);
    expect(other.lines).toEqual([]);
    expect(taken.lines).toEqual(['held']);
    taken.send();
    await other.printed('held');
    other.send();
    await other.exited;
    expect(await readdir(join(path, '..'))).toEqual([]);
  });

  test('a folder with other things is no lock, and stays', async () => {
    for (const name of ['notes.txt', `${ownMark()}.txt`]) {
      const path = await lockPath();
      await mkdir(path);
      await writeFile(join(path, name), 'mine');
      await utimes(path, minutesAgo(10), minutesAgo(10));
      await expect(acquireLock(path)).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE' });
      expect(await readdir(path)).toEqual([name]);
    }
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
      await (await acquireLock(path, { staleMs: never })).release();
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
  const holder = startChild('holder.mjs', { path, staleMs: never });
  await holder.printed('held');
  expect(await isHeld(path, never)).toBe(true);
  holder.kill('SIGKILL');
  await holder.exited;
  if (onLinux) expect(await isHeld(path, never)).toBe(false);
  if (onLinux) expect(await readdir(join(path, '..'))).toEqual([]);
});
