// A hub, or a repository on it, that means harm; and disks that cannot do everything.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import { lstat, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { fetchFile, listFiles } from '../../dist/models/hub/hub.js';
import { fetchModel } from '../../dist/models/hub/reference.js';
import { commit, startHub } from '../fixtures/hub.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

const folder = await temporaryFolder();
const repo = { name: 'owner/model', revision: 'main' };
const content = Buffer.from('content');
let homes = 0;
let home: string;
const closing: (() => void)[] = [];

beforeEach(() => {
  home = join(folder, `home${homes++}`);
  vi.stubEnv('HF_HOME', home);
  for (const name of ['HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE', 'HF_HUB_OFFLINE', 'HF_TOKEN']) vi.stubEnv(name, '');
});
afterEach(() => {
  vi.unstubAllEnvs();
  for (const close of closing.splice(0)) close();
});

async function useHub(files: Record<string, Buffer>) {
  const hub = await startHub({ 'owner/model': files });
  closing.push(hub.close);
  vi.stubEnv('HF_ENDPOINT', hub.url);
  return hub;
}

async function useServer(answer: RequestListener) {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  vi.stubEnv('HF_ENDPOINT', `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
}

/** Everything below a folder, by its path in it. */
async function everything(below: string): Promise<string[]> {
  return readdir(below, { recursive: true }).catch(() => []);
}

describe('names on the hub', () => {
  test.each(['../../x.gguf', 'a/../../../x.gguf', '/x.gguf', 'c:x.gguf', 'a\\..\\x.gguf', 'a\u001b[2J.gguf', ''])(
    'a listed file %j is refused, and nothing is made',
    async (rfilename) => {
      await useServer((_request, response) => response.end(JSON.stringify({ siblings: [{ rfilename }] })));
      await expect(listFiles(repo)).rejects.toMatchObject({ code: 'ERR_LONGVLM_HUB' });
      expect(await everything(home)).toEqual([]);
    },
  );

  test('an index that names a shard elsewhere makes no file or link there', async () => {
    const index = { weight_map: { 'vision_model.x': '../../../../outside.safetensors' } };
    await useHub({
      'config.json': Buffer.from('{}'),
      'model.safetensors.index.json': Buffer.from(JSON.stringify(index)),
    });
    await expect(fetchModel('hf:owner/model', 'vision')).rejects.toMatchObject({ code: 'ERR_LONGVLM_WEIGHTS' });
    await expect(fetchFile(repo, '../../../../outside.safetensors')).rejects.toMatchObject({ code: 'ERR_LONGVLM_HUB' });
    const links = (await everything(folder)).filter((name) => name.includes('outside'));
    expect(links).toEqual([]);
  });

  test('a million candidates are not all listed', async () => {
    const siblings = Array.from({ length: 100_000 }, (_, i) => ({ rfilename: `model${i}.gguf` }));
    await useServer((_request, response) => response.end(JSON.stringify({ siblings })));
    const error = await fetchModel('hf:owner/model', 'llm').catch((thrown: Error) => thrown);
    expect(error).toMatchObject({ code: 'ERR_LONGVLM_HUB', message: expect.stringContaining('and 99970 more') });
  });
});

describe('answers of a hub', () => {
  test.each(['', 'null', '[]', '"x"', '{"siblings":null}', '{"siblings":[null]}', `{"siblings":${'['.repeat(50_000)}`])(
    '%.30s is one error',
    async (text) => {
      await useServer((_request, response) => response.end(text));
      await expect(listFiles(repo)).rejects.toMatchObject({
        code: 'ERR_LONGVLM_HUB',
        message: expect.stringContaining('does not list the files of owner/model'),
      });
    },
  );

  test.each<[string, RequestListener]>([
    ['stalls', (_request, response) => void response.write('{"siblings":[')],
    [
      'trickles',
      (_request, response) => {
        const timer = setInterval(() => response.write(' '), 20);
        response.on('close', () => clearInterval(timer));
      },
    ],
  ])('one that %s is not waited for without end', async (_, answer) => {
    vi.stubEnv('HF_HUB_ETAG_TIMEOUT', '0.2');
    await useServer(answer);
    await expect(listFiles(repo)).rejects.toThrow(/cannot be reached for owner\/model: nothing came for 0\.2 s\./);
  });

  test('one without end is cut off', async () => {
    const megabyte = Buffer.alloc(2 ** 20, ' ');
    await useServer((_request, response) => {
      const more = () => {
        while (response.write(megabyte));
        response.once('drain', more);
      };
      more();
    });
    await expect(listFiles(repo)).rejects.toThrow(/more than 32 MiB/);
  });

  test('redirects in a circle, and to no URL, are one error', async () => {
    await useServer((request, response) => response.writeHead(302, { Location: request.url! }).end());
    await expect(fetchFile(repo, 'a.gguf')).rejects.toMatchObject({ code: 'ERR_LONGVLM_HUB' });
    await useServer((_request, response) => response.writeHead(302, { Location: 'http://' }).end());
    await expect(fetchFile(repo, 'a.gguf')).rejects.toMatchObject({ code: 'ERR_LONGVLM_HUB' });
  });

  test('a password in the endpoint and a broken token are not repeated', async () => {
    vi.stubEnv('HF_ENDPOINT', 'http://me:secret@127.0.0.1:9');
    await expect(listFiles(repo)).rejects.toThrow(/^HF_ENDPOINT is not the URL of a hub\. (?!.*secret)/);
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9');
    vi.stubEnv('HF_TOKEN', 'sec\nret');
    await expect(listFiles(repo)).rejects.toThrow(
      /^The token of the hub holds characters that no token has\. (?!.*ret)/,
    );
  });
});

describe('a disk', () => {
  const kept = { symlink: fs.promises.symlink, link: fs.promises.link };
  afterEach(() => {
    Object.assign(fs.promises, kept);
    syncBuiltinESMExports();
  });

  function withoutLinks(...kinds: (keyof typeof kept)[]): void {
    const refuse = async () => {
      throw Object.assign(new Error('EPERM: operation not permitted'), { code: 'EPERM' });
    };
    for (const kind of kinds) fs.promises[kind] = refuse;
    syncBuiltinESMExports();
  }

  test.each<[string, (keyof typeof kept)[]]>([
    ['without symbolic links', ['symlink']],
    ['without any links, such as exFAT', ['symlink', 'link']],
  ])('%s holds the cache, and nothing is downloaded twice', async (_, kinds) => {
    const hub = await useHub({ 'a.gguf': content });
    withoutLinks(...kinds);
    const paths = await Promise.all([1, 2].map(() => fetchFile(repo, 'a.gguf')));
    for (const path of [...paths, await fetchFile(repo, 'a.gguf')]) expect(await readFile(path)).toEqual(content);
    expect((await lstat(paths[0]!)).isSymbolicLink()).toBe(false);
    expect(hub.requests.filter(({ method, storage }) => storage && method === 'GET')).toHaveLength(1);
  });

  test('where nothing can be written still gives what is there, and else one error', async () => {
    await useHub({ 'a.gguf': content, 'b.gguf': content.subarray(1) });
    const model = join(home, 'hub', 'models--owner--model');
    await mkdir(join(model, 'snapshots', commit), { recursive: true });
    await writeFile(join(model, 'snapshots', commit, 'a.gguf'), content);
    // Files in the place of the folders, as even root cannot write there.
    for (const name of ['refs', 'blobs']) await writeFile(join(model, name), '');
    expect(await readFile(await fetchFile(repo, 'a.gguf'))).toEqual(content);
    await expect(fetchFile(repo, 'b.gguf')).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE' });
  });

  test('that is full is one error with its remedy', async () => {
    await useHub({ 'a.gguf': content });
    const { open } = fs.promises;
    fs.promises.open = async (...args) => {
      const handle = await open(...args);
      const full = async () =>
        Promise.reject(
          Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC', syscall: 'write' }),
        );
      if (String(args[0]).endsWith('.incomplete')) Object.assign(handle, { write: full });
      return handle;
    };
    syncBuiltinESMExports();
    try {
      await expect(fetchFile(repo, 'a.gguf')).rejects.toMatchObject({
        code: 'ERR_LONGVLM_FILE',
        message: expect.stringMatching(/cannot be written: there is no room left\. Free space there/),
      });
    } finally {
      fs.promises.open = open;
      syncBuiltinESMExports();
    }
    const hash = createHash('sha256').update(content).digest('hex');
    expect((await everything(home)).filter((name) => name.includes(hash))).toEqual([]);
  });
});
