// Files in an S3-compatible store that checks signatures, and in servers that misbehave.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { readS3Address } from '../../../dist/cache/s3Address.js';
import { S3Store } from '../../../dist/cache/s3Store.js';
import { freePort } from '../../fixtures/queueServer.js';
import { keys, type S3Server, signatureOf, startS3 } from '../../fixtures/s3Server.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const folder = await temporaryFolder();
const { signal } = new AbortController();
const key = 'a.safetensors';
const content = Buffer.alloc(700_000, 'features ');
const given = join(folder, 'given');
const taken = join(folder, 'taken');
let s3: S3Server;
const closing: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  writeFileSync(given, content);
  s3 = await startS3(['videos']);
});
afterAll(() => s3.close());
beforeEach(() => {
  for (const [name, value] of Object.entries(keys)) vi.stubEnv(name, value);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const close of closing.splice(0)) await close();
});

/** A server that is none of S3. */
async function serverOf(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  closing.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('a store', () => {
  test('gives what another machine put there, and nothing else', async () => {
    const store = await S3Store.open('s3://videos/some/place', { endpoint: s3.url });
    expect(await store.read(key, taken, signal)).toBe(false);
    expect(existsSync(taken)).toBe(false);
    await store.write(key, given, signal);
    const other = await S3Store.open('s3://videos/some/place/', { endpoint: s3.url });
    expect(await other.read(key, taken, signal)).toBe(true);
    expect(readFileSync(taken).equals(content)).toBe(true);
    const elsewhere = await S3Store.open('s3://videos', { endpoint: s3.url });
    expect(await elsewhere.read(key, join(folder, 'none'), signal)).toBe(false);
    expect(await elsewhere.read(`some/place/${key}`, join(folder, 'same'), signal)).toBe(true);
  });

  test('says in a sentence why it cannot be used', async () => {
    const open = (place: string, endpoint = s3.url) => S3Store.open(place, { endpoint });
    await expect(open('s3://others')).rejects.toMatchObject({
      code: 'ERR_LONGVLM_STORE',
      message: `There is no bucket 'others' at ${s3.url}. Make it first, or name another.`,
    });
    await expect(open('s3://videos', `http://127.0.0.1:${await freePort()}`)).rejects.toThrow(
      /^The store of features at http:\/\/127\.0\.0\.1:\d+ cannot be reached: nothing listens there\. Start it,/,
    );
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'wrong');
    await expect(open('s3://videos')).rejects.toThrow(/does not know the keys .* \(SignatureDoesNotMatch\)\. Set/);
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', '');
    await expect(open('s3://videos')).rejects.toThrow(
      'There are no keys for s3://videos. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment.',
    );
  });

  test('tells which region a bucket is in, and what keys may not', async () => {
    const answers = [
      [301, '<Error><Code>PermanentRedirect</Code></Error>', { 'x-amz-bucket-region': 'eu-west-1' }],
      [403, '<Error><Code>AccessDenied</Code></Error>', {}],
    ] as const;
    let count = 0;
    const url = await serverOf((_, response) => {
      const [status, body, headers] = answers[count++]!;
      response.writeHead(status, headers).end(body);
    });
    await expect(S3Store.open('s3://videos', { endpoint: url })).rejects.toThrow(/Set AWS_REGION=eu-west-1\.$/);
    await expect(S3Store.open('s3://videos', { endpoint: url })).rejects.toThrow(/\(AccessDenied\).* s3:PutObject\.$/);
    // Neither is asked for again.
    expect(count).toBe(2);
  });

  test('is asked again after it broke off, and a damaged object is none', async () => {
    const lines: string[] = [];
    let tries = 0;
    const url = await serverOf(async (request, response) => {
      if (request.url!.includes('max-keys')) return response.end('<ListBucketResult/>');
      tries++;
      response.writeHead(200, { 'content-length': content.length, 'x-amz-meta-sha256': 'a'.repeat(64) });
      if (tries > 1) return response.end(content);
      response.write(content.subarray(0, 1000));
      setTimeout(() => response.destroy(), 20);
    });
    const file = join(folder, 'damaged');
    const broken = await S3Store.open('s3://videos', { endpoint: url, onLog: (line) => lines.push(line) });
    expect(await broken.read(key, file, signal)).toBe(false);
    expect(tries).toBe(2);
    expect(lines).toEqual([`s3://videos/${key} is damaged: it is made anew`]);
    expect(existsSync(file)).toBe(false);
  });

  test('is done without while it is away, which is said once', async () => {
    const lines: string[] = [];
    let own = await startS3(['videos']);
    const options = { endpoint: own.url, awayMs: 100, onLog: (line: string) => lines.push(line) };
    const store = await S3Store.open('s3://videos', options);
    await own.close();
    await store.write(key, given, signal);
    expect(await store.read(key, taken, signal)).toBe(false);
    expect(lines).toEqual([expect.stringMatching(/nothing listens there\. .* on this machine alone\.$/)]);
    own = await startS3(['videos'], own.port);
    closing.push(() => own.close());
    while (lines.length === 1) {
      await store.write(key, given, signal);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(lines[1]).toBe('s3://videos/ is used again');
    expect(await store.read(key, taken, signal)).toBe(true);
  });

  test('that is silent is given up, and an abort ends all at once', async () => {
    const asked: string[] = [];
    const url = await serverOf((request, response) => {
      asked.push(request.url!);
      if (request.url!.includes('max-keys')) response.end('<ListBucketResult/>');
    });
    const lines: string[] = [];
    const options = { endpoint: url, silentMs: 1000, onLog: (line: string) => lines.push(line) };
    const store = await S3Store.open('s3://videos', options);
    expect(await store.read(key, taken, signal)).toBe(false);
    expect(lines).toEqual([expect.stringMatching(/was silent for 1 s\. /)]);
    expect(asked).toHaveLength(2);
    const patient = await S3Store.open('s3://videos', { endpoint: url });
    const controller = new AbortController();
    const read = patient.read(key, taken, controller.signal);
    while (asked.length < 4) await new Promise((resolve) => setTimeout(resolve, 5));
    controller.abort('enough');
    await expect(read).rejects.toBe('enough');
  });
});

test("the server that all of this is tested with knows the signature of the example in AWS's documentation", () => {
  const headers = {
    ...{ host: 'examplebucket.s3.amazonaws.com', range: 'bytes=0-9', 'x-amz-date': '20130524T000000Z' },
    'x-amz-content-sha256': 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  };
  const signed = { date: '20130524', region: 'us-east-1', signedHeaders: Object.keys(headers).sort() };
  expect(
    signatureOf({ method: 'GET', url: '/test.txt', headers }, signed, 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'),
  ).toBe('f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41');
});

describe('readS3Address()', () => {
  const env = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' };

  test.each([
    ['s3://videos/a/b', {}, 'https://videos.s3.us-east-1.amazonaws.com/', 'a/b/'],
    ['s3://my.videos', { AWS_REGION: 'eu-west-1' }, 'https://s3.eu-west-1.amazonaws.com/my.videos/', ''],
    ['s3://videos/', { AWS_ENDPOINT_URL: 'https://example.org/s3/' }, 'https://example.org/s3/videos/', ''],
  ])('%s with %o', (text, more, url, prefix) => {
    expect(readS3Address(text, undefined, { ...env, ...more })).toMatchObject({ url, prefix });
  });

  test.each([
    's3://',
    's3:videos',
    's3://key:secret@videos/a',
    's3://videos/../other',
    's3://videos/a//b',
    's3://videos/a?b',
  ])('refuses %s, and tells no secret', (text) => {
    expect(() => readS3Address(text, undefined, env)).toThrow(RangeError);
    expect(() => readS3Address(text, undefined, env)).not.toThrow(/secret/);
  });

  test('refuses what is no server', () => {
    for (const endpoint of ['example.org', 'ftp://example.org', 'https://a:secret@example.org']) {
      expect(() => readS3Address('s3://videos', endpoint, env)).toThrow(/^Expected URL of an S3-compatible server/);
      expect(() => readS3Address('s3://videos', endpoint, env)).not.toThrow(/secret/);
    }
  });
});
