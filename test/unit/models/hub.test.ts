import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { lstat, mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { acquireLock } from '../../../dist/cache/lock.js';
import { download } from '../../../dist/models/hub/download.js';
import { fetchFile, type HubProgress, listFiles } from '../../../dist/models/hub/hub.js';
import { hubFolder } from '../../../dist/models/hub/repo.js';
import { startChild } from '../../fixtures/cache/child.js';
import { commit, type Mood, startHub, token } from '../../fixtures/hub.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const large = randomBytes(300_000);
const small = Buffer.from('{"model_type": "clip"}');
const repo = { name: 'owner/model', revision: 'main' };
const folder = await temporaryFolder();
let hub: Awaited<ReturnType<typeof startHub>>;
let caches = 0;

const names = ['HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE', 'HF_HOME', 'XDG_CACHE_HOME', 'HF_ENDPOINT', 'HF_TOKEN'];
const others = ['HUGGING_FACE_HUB_TOKEN', 'HF_TOKEN_PATH', 'HF_HUB_OFFLINE', 'HF_HUB_DOWNLOAD_TIMEOUT'];
const before = [...names, ...others].map((name) => [name, process.env[name]] as const);

beforeAll(async () => {
  hub = await startHub({
    'owner/model': { 'weights.bin': large, 'config.json': small, 'sub/a b.gguf': large.subarray(9) },
  });
});
afterAll(() => hub.close());
beforeEach(() => {
  for (const [name] of before) delete process.env[name];
  process.env.HF_ENDPOINT = `${hub.url}/`;
  process.env.HF_HOME = join(folder, `home${caches++}`);
  for (const key of Object.keys(hub.mood)) delete hub.mood[key as keyof typeof hub.mood];
  hub.requests.length = 0;
});
afterEach(() => {
  for (const [name, value] of before) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
});

const blobs = async () => readdir(join(hubFolder(), 'models--owner--model', 'blobs')).catch(() => []);
const gets = () => hub.requests.filter(({ method }) => method === 'GET');

describe('fetchFile()', () => {
  test("lays the cache out as Hugging Face's own clients do", async () => {
    const path = await fetchFile(repo, 'weights.bin');
    const model = join(process.env.HF_HOME!, 'hub', 'models--owner--model');
    expect(path).toBe(join(model, 'snapshots', commit, 'weights.bin'));
    expect((await lstat(path)).isSymbolicLink()).toBe(true);
    expect(await readFile(path)).toEqual(large);
    expect(await readFile(join(model, 'refs', 'main'), 'utf8')).toBe(commit);
    expect(await blobs()).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)]);
    // The content of that commit, wherever the branch has gone since it was looked up.
    expect(gets().find(({ storage }) => !storage)!.url).toContain(`/resolve/${commit}/`);
  });

  test('asks for nothing twice, and for nothing at all where a commit is named', async () => {
    await fetchFile(repo, 'weights.bin');
    await fetchFile(repo, 'weights.bin');
    expect(gets().filter(({ storage }) => storage)).toHaveLength(1);
    hub.requests.length = 0;
    await fetchFile({ ...repo, revision: commit }, 'weights.bin');
    expect(hub.requests).toEqual([]);
  });

  test('gets small files, files in folders, and models that were renamed', async () => {
    expect(await readFile(await fetchFile(repo, 'config.json'))).toEqual(small);
    expect(await readFile(await fetchFile(repo, 'sub/a b.gguf'))).toEqual(large.subarray(9));
    expect(await readFile(await fetchFile({ ...repo, name: 'renamed/model' }, 'weights.bin'))).toEqual(large);
  });

  test('reports bytes from first to last', async () => {
    const seen: HubProgress[] = [];
    await fetchFile(repo, 'weights.bin', { onProgress: (progress) => seen.push(progress) });
    const shape = { stage: 'download', total: large.length, unit: 'bytes', name: 'weights.bin' };
    expect(seen[0]).toEqual({ ...shape, done: 0 });
    expect(seen.at(-1)).toEqual({ ...shape, done: large.length });
  });

  test('goes on where the connection broke, again and again', async () => {
    // More often than it would be tried without a byte in between.
    hub.mood.breaks = { after: 30_000, times: 8 };
    expect(await readFile(await fetchFile(repo, 'weights.bin'))).toEqual(large);
    const starts = gets().flatMap(({ storage, range }) => (storage ? [Number(range?.slice(6, -1) ?? 0)] : []));
    expect(starts).toHaveLength(9);
    expect(starts).toEqual([...starts].sort((a, b) => a - b));
    expect(starts[8]).toBeGreaterThan(0);
  });

  test.each([0, 1, 65_536, 299_999])('goes on in a later run after %i bytes', async (bytes) => {
    const { path } = await broken(bytes);
    expect(await readFile(path)).toEqual(large);
    const range = gets().find(({ storage }) => storage)!.range;
    expect(range).toBe(bytes === 0 ? undefined : `bytes=${bytes}-`);
  });

  test('starts again where the server knows no ranges, or what is there is not of this file', async () => {
    hub.mood.noRanges = true;
    expect(await readFile((await broken(1000)).path)).toEqual(large);
    process.env.HF_HOME = join(folder, `home${caches++}`);
    delete hub.mood.noRanges;
    expect(await readFile((await broken(400_000)).path)).toEqual(large);
  });

  test('refuses what was damaged in an earlier run, removes it, and can get it anew', async () => {
    await expect(broken(1000, Buffer.alloc(1000, 1))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_HUB',
      message: expect.stringMatching(
        /^owner\/model\/weights\.bin has the hash \w{64}, where \w{64} is due, so it was removed\./,
      ),
    });
    expect(await blobs()).toEqual([]);
    expect(await readFile(await fetchFile(repo, 'weights.bin'))).toEqual(large);
  });

  test.each<[string, 'wrongContent' | 'tooLong', string, RegExp]>([
    ['other content', 'wrongContent', 'weights.bin', /has the hash/],
    ['other content of a small file', 'wrongContent', 'config.json', /has the hash/],
    ['more than it said', 'tooLong', 'weights.bin', /is longer than 300000 bytes/],
  ])('refuses %s, and leaves nothing', async (_, mood, file, message) => {
    hub.mood[mood] = true;
    await expect(fetchFile(repo, file)).rejects.toThrow(message);
    expect(await blobs()).toEqual([]);
  });

  test('gives up when a server breaks off again and again without a byte', async () => {
    hub.mood.breaks = { after: 0, times: 99 };
    await expect(fetchFile(repo, 'weights.bin')).rejects.toThrow(
      /weights\.bin broke off at byte 0 of 300000: .*Try again/,
    );
    expect(await blobs()).toEqual([]);
  }, 30_000);

  test.each<[string, Mood, RegExp]>([
    ['sends nothing more', { stalls: 500 }, /broke off at byte 500 of 300000: nothing came for 0\.2 s\. Try again/],
    ['has no rest to send', { noRest: true }, /broke off at byte 0 of 300000: no more of it came\. Try again/],
  ])(
    'does not wait for ever for a server that %s',
    async (_, mood, message) => {
      process.env.HF_HUB_DOWNLOAD_TIMEOUT = '0.2';
      Object.assign(hub.mood, mood);
      await expect(fetchFile(repo, 'weights.bin')).rejects.toThrow(message);
    },
    30_000,
  );

  test('outlasts a server that is away for a moment', async () => {
    await fetchFile(repo, 'config.json');
    hub.requests.length = 0;
    hub.mood.unavailable = 0;
    const fetching = fetchFile(repo, 'weights.bin', {
      onProgress: () => {
        // From the first report on: the file is described, its content is still to come.
        hub.mood.unavailable ??= 2;
      },
    });
    delete hub.mood.unavailable;
    expect(await readFile(await fetching)).toEqual(large);
  });

  test.each<[string, Mood]>([
    ['while it receives', { stalls: 20_000 }],
    ['while it waits to try again', { breaks: { after: 20_000, times: 99 } }],
  ])('ends at an abort %s, and goes on from there', async (_, mood) => {
    const { blob } = await place();
    const controller = new AbortController();
    const reason = new Error('enough');
    Object.assign(hub.mood, mood);
    const fetching = fetchFile(repo, 'weights.bin', { signal: controller.signal });
    const received = async () => (await stat(`${blob}.incomplete`).catch(() => ({ size: 0 }))).size;
    while ((await received()) < 20_000) await new Promise((resolve) => setTimeout(resolve, 10));
    controller.abort(reason);
    await expect(fetching).rejects.toBe(reason);
    expect((await blobs()).filter((name) => name.endsWith('.lock'))).toEqual([]);
    for (const key of Object.keys(mood)) delete hub.mood[key as keyof Mood];
    const bytes = await received();
    hub.requests.length = 0;
    expect(await readFile(await fetchFile(repo, 'weights.bin'))).toEqual(large);
    expect(gets().find(({ storage }) => storage)!.range).toBe(`bytes=${bytes}-`);
  });

  test('two at once download once', async () => {
    const both = await Promise.all([fetchFile(repo, 'weights.bin'), fetchFile(repo, 'weights.bin')]);
    expect(both[0]).toBe(both[1]);
    expect(gets().filter(({ storage }) => storage)).toHaveLength(1);
  });

  test('four processes at once download once', async () => {
    const { path } = await place();
    const children = Array.from({ length: 4 }, () => startChild('downloader.mjs', { repo, file: 'weights.bin' }));
    await Promise.all(children.map((child) => child.printed('ready')));
    for (const child of children) child.send();
    for (const child of children) expect(await child.exited).toEqual({ code: 0, signal: null });
    expect(gets().filter(({ storage }) => storage)).toHaveLength(1);
    expect(await readFile(path)).toEqual(large);
    expect(await blobs()).toHaveLength(1);
  });

  test('takes over from a process that was killed, and goes on from there', async () => {
    const { blob } = await place();
    hub.mood.stalls = 20_000;
    const child = startChild('downloader.mjs', { repo, file: 'weights.bin' });
    await child.printed('ready');
    child.send();
    await child.printed('downloading');
    while ((await stat(`${blob}.incomplete`)).size < 20_000) await new Promise((resolve) => setTimeout(resolve, 10));
    child.kill('SIGKILL');
    await child.exited;
    // As if it had happened some minutes ago: what was killed just now is waited for.
    const past = new Date(Date.now() - 600_000);
    await utimes(`${blob}.lock`, past, past);
    delete hub.mood.stalls;
    hub.requests.length = 0;
    expect(await readFile(await fetchFile(repo, 'weights.bin'))).toEqual(large);
    expect(gets().find(({ storage }) => storage)!.range).toBe('bytes=20000-');
    expect(await blobs()).toEqual([basename(blob)]);
  });

  test('ends at an abort while another downloads', async () => {
    const { blob } = await place();
    const lock = await acquireLock(`${blob}.lock`);
    const controller = new AbortController();
    const reason = new Error('enough');
    const what = { url: hub.url, headers: {}, path: blob, size: large.length, etag: 'etag', name: 'weights.bin' };
    const waiting = download(
      what,
      { isThere: async () => false, place: async () => {} },
      { signal: controller.signal },
    );
    setImmediate(() => controller.abort(reason));
    await expect(waiting).rejects.toBe(reason);
    expect(await blobs()).toEqual([`${basename(blob)}.lock`]);
    await lock.release();
  });

  test.each([0, 20_000])(
    'waits for the process that went on with it while this one was suspended after %i bytes',
    async (bytes) => {
      const { blob, path } = await place();
      process.env.HF_HUB_DOWNLOAD_TIMEOUT = '4';
      hub.mood.stalls = 20_000;
      const child = startChild('downloader.mjs', { repo, file: 'weights.bin' });
      await child.printed('ready');
      child.send();
      await child.printed('downloading');
      while ((await stat(`${blob}.incomplete`)).size < bytes) await new Promise((resolve) => setTimeout(resolve, 10));
      child.kill('SIGSTOP');
      const past = new Date(Date.now() - 600_000);
      await utimes(`${blob}.lock`, past, past);
      delete hub.mood.stalls;
      await fetchFile(repo, 'weights.bin');
      child.kill('SIGCONT');
      await child.printed('done');
      expect(await child.exited).toEqual({ code: 0, signal: null });
      expect(await readFile(path)).toEqual(large);
      expect(await blobs()).toEqual([basename(blob)]);
    },
  );

  test('sends the token to the hub, and to nobody else', async () => {
    hub.mood.gated = true;
    await expect(fetchFile(repo, 'weights.bin')).rejects.toThrow(
      /is gated\. Accept its terms at .*owner\/model, and set HF_TOKEN/,
    );
    process.env.HF_TOKEN = token;
    expect(await readFile(await fetchFile(repo, 'weights.bin'))).toEqual(large);
    const sent = hub.requests.filter(({ authorization }) => authorization !== undefined);
    expect(sent.length).toBeGreaterThan(0);
    expect(sent.every(({ storage, authorization }) => !storage && authorization === `Bearer ${token}`)).toBe(true);
  });

  test('does not give what is in the cache where the hub refuses it now', async () => {
    await fetchFile(repo, 'weights.bin');
    hub.mood.gated = true;
    await expect(fetchFile(repo, 'weights.bin')).rejects.toThrow(/is gated/);
  });

  test('reads the token that a login left', async () => {
    hub.mood.gated = true;
    await mkdir(process.env.HF_HOME!, { recursive: true });
    await writeFile(join(process.env.HF_HOME!, 'token'), `${token}\n`);
    expect(await readFile(await fetchFile(repo, 'config.json'))).toEqual(small);
  });

  test.each([
    [
      'a repository that is not there',
      { ...repo, name: 'owner/none' },
      'weights.bin',
      /owner\/none\/weights\.bin does not exist, or is private/,
    ],
    ['a revision that is not there', { ...repo, revision: 'v9' }, 'weights.bin', /has no revision v9/],
    ['a file that is not there', repo, 'none.bin', /owner\/model\/none\.bin does not exist/],
  ])('refuses %s', async (_, from, file, message) => {
    await expect(fetchFile(from, file)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_HUB',
      message: expect.stringMatching(message),
    });
  });

  test('refuses a server that is no hub, and one that is not there', async () => {
    const noHub = /does not tell commit, hash and size of .*Check HF_ENDPOINT/;
    hub.mood.noHeaders = true;
    await expect(fetchFile(repo, 'weights.bin')).rejects.toThrow(noHub);
    // The hash becomes the name of a file.
    Object.assign(hub.mood, { noHeaders: false, hash: '../../../outside' });
    await expect(fetchFile(repo, 'weights.bin')).rejects.toThrow(noHub);
    process.env.HF_ENDPOINT = 'http://127.0.0.1:9';
    await expect(fetchFile(repo, 'weights.bin')).rejects.toThrow(
      /127\.0\.0\.1:9 cannot be reached for owner\/model\/weights\.bin: /,
    );
  });

  test('takes what was last seen when the hub cannot be reached', async () => {
    const path = await fetchFile(repo, 'weights.bin');
    process.env.HF_ENDPOINT = 'http://127.0.0.1:9';
    expect(await fetchFile(repo, 'weights.bin')).toBe(path);
    await expect(fetchFile(repo, 'config.json')).rejects.toThrow(/cannot be reached/);
  });

  test('asks nobody offline', async () => {
    const path = await fetchFile(repo, 'weights.bin');
    hub.requests.length = 0;
    expect(await fetchFile(repo, 'weights.bin', { offline: true })).toBe(path);
    process.env.HF_HUB_OFFLINE = '1';
    expect(await fetchFile(repo, 'weights.bin')).toBe(path);
    await expect(fetchFile(repo, 'config.json')).rejects.toThrow(
      /owner\/model\/config\.json is not in the cache, and offline/,
    );
    expect(hub.requests).toEqual([]);
  });

  test('downloads again what was removed from the cache', async () => {
    const { blob, path } = await place();
    await fetchFile(repo, 'weights.bin');
    await rm(blob);
    expect(await readFile(await fetchFile(repo, 'weights.bin'))).toEqual(large);
    expect((await stat(path)).size).toBe(large.length);
  });
});

describe('listFiles()', () => {
  test('names the files, offline those in the cache', async () => {
    expect(await listFiles(repo)).toEqual(['weights.bin', 'config.json', 'sub/a b.gguf']);
    await expect(listFiles(repo, { offline: true })).rejects.toThrow(/owner\/model is not in the cache/);
    await fetchFile(repo, 'sub/a b.gguf');
    expect(await listFiles(repo, { offline: true })).toEqual(['sub/a b.gguf']);
  });

  test.each([
    ['a web page', '<html>', /JSON/],
    ['no files', '{}', /Expected array for siblings but received undefined/],
    ['a file without a name', '{"siblings":[{}]}', /Expected string for siblings\[0\]\.rfilename/],
    [
      'a file elsewhere',
      '{"siblings":[{"rfilename":"a/../../b"}]}',
      /name of a file in it for siblings\[0\]\.rfilename/,
    ],
  ])('refuses a server that lists %s', async (_, text, message) => {
    const server = createServer((_request, response) => response.end(text)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    process.env.HF_ENDPOINT = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    try {
      const refused = expect.stringMatching(/^http:.* does not list the files of owner\/model: .* Check HF_ENDPOINT/);
      await expect(listFiles(repo)).rejects.toMatchObject({ code: 'ERR_LONGVLM_HUB', message: refused });
      await expect(listFiles(repo)).rejects.toThrow(message);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});

test('hubFolder() is where the variables of Hugging Face say', () => {
  for (const [name] of before) delete process.env[name];
  process.env.XDG_CACHE_HOME = '/xdg';
  expect(hubFolder()).toBe('/xdg/huggingface/hub');
  process.env.HF_HOME = '/home';
  expect(hubFolder()).toBe('/home/hub');
  process.env.HF_HUB_CACHE = '/cache';
  expect(hubFolder()).toBe('/cache');
});

/** Where the large file goes. */
async function place() {
  const { createHash } = await import('node:crypto');
  const model = join(hubFolder(), 'models--owner--model');
  await mkdir(join(model, 'blobs'), { recursive: true });
  const blob = join(model, 'blobs', createHash('sha256').update(large).digest('hex'));
  return { blob, path: join(model, 'snapshots', commit, 'weights.bin') };
}

/** Gets the large file after an earlier run has left so many bytes of it, or these. */
async function broken(bytes: number, left = Buffer.concat([large, large]).subarray(0, bytes)) {
  const { blob } = await place();
  await writeFile(`${blob}.incomplete`, left);
  hub.requests.length = 0;
  return { path: await fetchFile(repo, 'weights.bin') };
}
