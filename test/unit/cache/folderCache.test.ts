import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Progress } from '../../../dist/base/progress.js';
import { writeWholeFile } from '../../../dist/base/wholeFile.js';
import { FolderCache, type FolderCacheOptions } from '../../../dist/cache/folderCache.js';
import { acquireLock } from '../../../dist/cache/lock.js';
import { startChild } from '../../fixtures/cache/child.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const folder = await temporaryFolder();
let caches = 0;
/** The shortest that there is. */
const staleMs = 2000;
const days = (count: number) => new Date(Date.now() - count * 24 * 3600 * 1000);

type Make = (signal: AbortSignal, onProgress: (progress: Progress) => void) => Promise<string>;

/** A cache of texts in a folder of its own. */
async function cacheOf(options?: FolderCacheOptions) {
  const place = join(folder, `${caches++}`);
  await mkdir(place);
  const cache = new FolderCache(place, '.txt', options);
  const get = (key: string, make: Make, more?: Parameters<FolderCache['getOrMake']>[2]) =>
    cache.getOrMake(
      key,
      {
        read: async (file) => {
          const text = await readFile(file, 'utf8').catch(() => undefined);
          return text === 'damaged' ? undefined : text;
        },
        make: async (file, signal, onProgress) => {
          const text = await make(signal, onProgress);
          await writeWholeFile(file, (handle) => handle.writeFile(text)).catch(() => {});
          return text;
        },
      },
      more,
    );
  const names = async () => (await readdir(place)).sort();
  return { cache, place, get, names };
}

/** Work that is started, and ends when the test says so; its signal aborts it. */
function underControl() {
  let finish!: (text: string) => void;
  let fail!: (error: Error) => void;
  let started!: (signal: AbortSignal) => void;
  const result = new Promise<string>((resolve, reject) => {
    finish = resolve;
    fail = reject;
  });
  result.catch(() => {});
  const running = new Promise<AbortSignal>((resolve) => (started = resolve));
  const make: Make = (signal) => {
    started(signal);
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason));
      result.then(resolve, reject);
    });
  };
  return { make, running, finish, fail };
}

const never: Make = () => Promise.reject(new Error('made again'));

describe('FolderCache', () => {
  test('makes what is not there, and reads it from then on', async () => {
    const { get, names } = await cacheOf();
    expect(await get('a', async () => 'one')).toBe('one');
    expect(await get('a', never)).toBe('one');
    expect(await get('b', async () => 'two')).toBe('two');
    expect(await names()).toEqual(['a.txt', 'b.txt']);
  });

  test('makes a damaged file anew', async () => {
    const { get, place } = await cacheOf();
    await writeFile(join(place, 'a.txt'), 'damaged');
    expect(await get('a', async () => 'one')).toBe('one');
    expect(await get('a', never)).toBe('one');
  });

  test('marks a file as used when it is read', async () => {
    const { get, place } = await cacheOf();
    await get('a', async () => 'one');
    await utimes(join(place, 'a.txt'), days(3), days(3));
    await get('a', never);
    expect((await stat(join(place, 'a.txt'))).mtimeMs).toBeGreaterThan(days(1).getTime());
  });

  test('makes once for 20 that ask at once, through any number of objects', async () => {
    const { get, place } = await cacheOf();
    const { make, running, finish } = underControl();
    let made = 0;
    const counted: Make = (...args) => {
      made++;
      return make(...args);
    };
    const other = new FolderCache(place, '.txt');
    const asked = Array.from({ length: 19 }, () => get('a', counted));
    asked.push(other.getOrMake('a', { read: async () => undefined, make: (_, ...rest) => counted(...rest) }));
    await running;
    finish('one');
    expect(await Promise.all(asked)).toEqual(Array.from({ length: 20 }, () => 'one'));
    expect(made).toBe(1);
  });

  test('makes once for four processes with five calls each', async () => {
    const { place, names } = await cacheOf();
    const log = join(folder, 'four.log');
    const children = Array.from({ length: 4 }, () => startChild('maker.mjs', { folder: place, log, calls: 5 }));
    await Promise.all(children.map((child) => child.printed('ready')));
    for (const child of children) child.send();
    for (const child of children) expect(await child.exited).toEqual({ code: 0, signal: null });
    expect(await readFile(log, 'utf8')).toBe('made\n');
    const values = children.flatMap(({ lines }) => JSON.parse(lines.at(-1)!) as string[]);
    expect(values).toHaveLength(20);
    expect(new Set(values).size).toBe(1);
    expect(await names()).toEqual(['key.txt']);
  });

  test('takes over from a process that was killed', async () => {
    const { place, get, names } = await cacheOf({ staleMs });
    const log = join(folder, 'killed.log');
    const maker = startChild('maker.mjs', { folder: place, log, calls: 1, hangs: true, staleMs });
    await maker.printed('ready');
    maker.send();
    await maker.printed('making');
    const waiting = Promise.all([get('key', async () => 'one'), get('key', never)]);
    maker.kill('SIGKILL');
    expect(await maker.exited).toEqual({ code: null, signal: 'SIGKILL' });
    expect(await waiting).toEqual(['one', 'one']);
    expect(await names()).toEqual(['key.txt']);
  });

  test('stops to wait for another process as soon as it is aborted', async () => {
    const { place, get } = await cacheOf();
    const lock = await acquireLock(join(place, 'a.txt.lock'));
    const controller = new AbortController();
    const reason = new Error('enough');
    const waiting = get('a', never, { signal: controller.signal });
    setImmediate(() => controller.abort(reason));
    await expect(waiting).rejects.toBe(reason);
    await lock.release();
  });

  test('goes on for others when the caller that began aborts', async () => {
    const { get, names } = await cacheOf();
    const { make, running, finish } = underControl();
    const controller = new AbortController();
    const reason = new Error('enough');
    const first = get('a', make, { signal: controller.signal });
    const second = get('a', never);
    const signal = await running;
    controller.abort(reason);
    await expect(first).rejects.toBe(reason);
    expect(signal.aborted).toBe(false);
    // Whoever comes later joins, too.
    const third = get('a', never);
    finish('one');
    expect(await Promise.all([second, third])).toEqual(['one', 'one']);
    expect(await names()).toEqual(['a.txt']);
  });

  test('aborts when all callers have aborted, and starts again for the next one', async () => {
    const { get, names } = await cacheOf();
    const { make, running } = underControl();
    const [one, two] = [new AbortController(), new AbortController()];
    const first = get('a', make, { signal: one.signal });
    const second = get('a', never, { signal: two.signal });
    const signal = await running;
    one.abort(new Error('first'));
    const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve));
    two.abort(new Error('second'));
    await aborted;
    // While the work is still ending.
    const third = get('a', async () => 'one');
    await expect(first).rejects.toThrow('first');
    await expect(second).rejects.toThrow('second');
    expect(signal.reason).toEqual(new Error('second'));
    expect(await third).toBe('one');
    expect(await names()).toEqual(['a.txt']);
  });

  test('the last caller to abort waits until the work has ended', async () => {
    const { get, names } = await cacheOf();
    const controller = new AbortController();
    let ended = false;
    const asked = get(
      'a',
      (signal) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () =>
            setImmediate(() => {
              ended = true;
              reject(signal.reason);
            }),
          );
          controller.abort(new Error('enough'));
        }),
      { signal: controller.signal },
    );
    await expect(asked).rejects.toThrow('enough');
    expect(ended).toBe(true);
    expect(await names()).toEqual([]);
  });

  test('does nothing for a caller that has aborted before', async () => {
    const { get, names } = await cacheOf();
    await expect(get('a', never, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough');
    expect(await names()).toEqual([]);
  });

  test("a failure is the caller's own: those that wait try themselves, one at a time", async () => {
    const { get, names } = await cacheOf();
    const { make, running, fail } = underControl();
    const first = get('a', make);
    let making = 0;
    const failing: Make = async () => {
      expect(++making).toBe(1);
      await new Promise((resolve) => setImmediate(resolve));
      making--;
      throw new Error('second');
    };
    const [second, third, fourth] = [get('a', failing), get('a', failing), get('a', async () => 'one')];
    await running;
    fail(new Error('first'));
    await expect(first).rejects.toThrow('first');
    await expect(second).rejects.toThrow('second');
    await expect(third).rejects.toThrow('second');
    expect(await fourth).toBe('one');
    expect(await names()).toEqual(['a.txt']);
  });

  test('reports progress to all callers, and ends only the call whose callback throws', async () => {
    const { get } = await cacheOf();
    const progress: Progress = { stage: 'convert', done: 1, total: 2, unit: 'tensors' };
    const seen: Progress[] = [];
    const make: Make = async (_, onProgress) => {
      onProgress(progress);
      return 'one';
    };
    const throwing = () => {
      throw new Error('callback');
    };
    const first = get('a', make, { onProgress: throwing });
    const second = get('a', never, { onProgress: (reported) => seen.push(reported) });
    await expect(first).rejects.toThrow('callback');
    expect(await second).toBe('one');
    expect(seen).toEqual([progress]);
  });

  test('gives what is made where it cannot be kept', async () => {
    const { get, place } = await cacheOf();
    await rm(place, { recursive: true });
    expect(await Promise.all([get('a', async () => 'one'), get('a', never)])).toEqual(['one', 'one']);
    expect(existsSync(place)).toBe(false);
    await writeFile(place, 'a file');
    expect(await get('a', async () => 'two')).toBe('two');
  });

  test.skipIf(process.platform === 'win32')('gives what is made in a folder that may only be read', async () => {
    const { place, names } = await cacheOf();
    await chmod(folder, 0o755);
    await chmod(place, 0o555);
    const log = join(await openToAll(), 'made.log');
    // For the superuser, every folder can be written to.
    const nobody = process.getuid!() === 0 ? { uid: 65534, gid: 65534 } : {};
    const child = startChild('maker.mjs', { folder: place, log, calls: 3 }, nobody);
    await child.printed('ready');
    child.send();
    expect(await child.exited).toEqual({ code: 0, signal: null });
    expect(new Set(JSON.parse(child.lines.at(-1)!)).size).toBe(1);
    expect(await readFile(log, 'utf8')).toBe('made\n');
    expect(await names()).toEqual([]);
  });

  test('removes the least recently used files above maxBytes, never the one that was just made', async () => {
    const { get, place, names } = await cacheOf({ maxBytes: 25 });
    const ten = async () => '0123456789';
    for (const [age, key] of ['a', 'b', 'c'].entries()) {
      await writeFile(join(place, `${key}.txt`), '0123456789');
      await utimes(join(place, `${key}.txt`), days(3 - age), days(3 - age));
    }
    await get('a', never);
    await get('d', ten);
    expect(await names()).toEqual(['a.txt', 'd.txt']);
    await get('e', async () => '0'.repeat(100));
    expect(await names()).toEqual(['e.txt']);
    // Though the other one was used later, as the clock of its host says.
    const tomorrow = days(-1);
    await utimes(join(place, 'e.txt'), tomorrow, tomorrow);
    await get('f', ten);
    expect(await names()).toEqual(['f.txt']);
  });

  test('removes what was not used for maxAgeMs before the next file is made, not when one is read', async () => {
    const { get, place, names } = await cacheOf({ maxAgeMs: 2 * 24 * 3600 * 1000 });
    for (const [key, age] of [
      ['young', 1.9],
      ['old', 2.1],
    ] as const) {
      await writeFile(join(place, `${key}.txt`), key);
      await utimes(join(place, `${key}.txt`), days(age), days(age));
    }
    await get('young', never);
    expect(await names()).toEqual(['old.txt', 'young.txt']);
    await get('new', async () => {
      expect(await names()).toEqual(['new.txt.lock', 'young.txt']);
      return 'new';
    });
    expect(await names()).toEqual(['new.txt', 'young.txt']);
  });

  test('removes what crashed processes left, and leaves alone what others write', async () => {
    const { get, place, names } = await cacheOf();
    for (const [name, age] of [
      ['a.txt.1.tmp', 1.1],
      ['a.txt.2.tmp', 0.9],
    ] as const) {
      await writeFile(join(place, name), 'half');
      await utimes(join(place, name), days(age), days(age));
    }
    await mkdir(join(place, 'b.txt.lock'));
    await utimes(join(place, 'b.txt.lock'), days(0.5), days(0.5));
    await mkdir(join(place, 'c.txt.lock'));
    await get('d', async () => 'four');
    expect(await names()).toEqual(['a.txt.2.tmp', 'c.txt.lock', 'd.txt']);
  });

  test('lists files alone, last used first, and nothing where there is no folder', async () => {
    const { cache, get, place } = await cacheOf();
    await get('a', async () => 'one');
    await get('b', async () => 'three');
    await utimes(join(place, 'b.txt'), days(1), days(1));
    await writeFile(join(place, 'b.txt.1.tmp'), 'half');
    await mkdir(join(place, 'c.txt.lock'));
    expect(await cache.list()).toMatchObject([
      { file: join(place, 'a.txt'), bytes: 3 },
      { file: join(place, 'b.txt'), bytes: 5, lastUsed: expect.any(Date) },
    ]);
    expect(await new FolderCache(join(place, 'none'), '.txt').list()).toEqual([]);
    await expect(new FolderCache(join(place, 'a.txt'), '.txt').list()).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
    });
  });

  test('is cleared of all but what is being made, which appears afterwards', async () => {
    const { cache, get, place, names } = await cacheOf();
    await get('a', async () => 'one');
    for (const name of ['a.txt.1.tmp', 'b.txt.2.tmp']) await writeFile(join(place, name), 'half');
    await mkdir(join(place, 'c.txt.lock'));
    await utimes(join(place, 'c.txt.lock'), days(0.5), days(0.5));
    const { make, running, finish } = underControl();
    const making = get('b', make);
    await running;
    expect(await cache.clear()).toMatchObject([{ file: join(place, 'a.txt'), bytes: 3 }]);
    expect(await names()).toEqual(['b.txt.2.tmp', 'b.txt.lock']);
    const joining = get('b', never);
    finish('two');
    expect(await Promise.all([making, joining])).toEqual(['two', 'two']);
    expect(await get('b', never)).toBe('two');
    expect(await cache.clear()).toHaveLength(1);
    expect(await names()).toEqual([]);
  });
});

/** A folder that every user may write to. */
async function openToAll(): Promise<string> {
  const place = join(folder, 'open');
  await mkdir(place);
  await chmod(place, 0o777);
  return place;
}
