// Hostile uploads and clients of the service: each is refused, and others are answered meanwhile.
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { crc32, deflateSync } from 'node:zlib';
import OpenAI, { toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LongVLM, type Service, startService } from '../../dist/index.js';
import { manySamples, rewritten } from '../fixtures/mp4Boxes.js';
import { h264, make, pattern } from '../unit/video/videoFiles.js';

let vlm: LongVLM;
let service: Service;
let client: OpenAI;
beforeAll(async () => {
  // No request comes as far as the models.
  vlm = await LongVLM.load({ gpu: 'off', threads: 1, lazy: true });
  service = await startService(vlm, {
    port: 0,
    apiKeys: ['key'],
    bodySeconds: 0.3,
    limits: { idleSeconds: 0.3, maxFrames: 500_000 },
  });
  client = new OpenAI({ baseURL: `${service.url}/v1`, apiKey: 'key', maxRetries: 0 });
});
afterAll(async () => {
  await service.close();
  await vlm.dispose();
});

/** Uploads a file and asks about it, while others ask whether the service is there. */
async function refusalOf(name: string, bytes: Buffer): Promise<unknown> {
  const { id } = await client.files.create({ file: await toFile(bytes, name), purpose: 'vision' });
  const content = [
    { type: 'video_url', video_url: { url: id } },
    { type: 'text', text: 'What?' },
  ] as unknown as OpenAI.ChatCompletionContentPart[];
  let isDone = false;
  const asking = client.chat.completions
    .create({ model: 'nano', messages: [{ role: 'user', content }] })
    .catch((error: unknown) => error)
    .finally(() => {
      isDone = true;
    });
  do expect((await fetch(`${service.url}/health`)).status).toBe(200);
  while (!isDone);
  await client.files.delete(id);
  return asking;
}

function chunk(type: string, body: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(type, 'latin1'), body]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(body.length);
  sum.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, sum]);
}

/** A picture of so many pixels, all of them black: a thousandth of its size as a file. */
function picture(width: number, height: number): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([1, 0], 8);
  const rows = deflateSync(Buffer.alloc(Math.min(1e7, (Math.ceil(width / 8) + 1) * height)));
  const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', rows), chunk('IEND', Buffer.alloc(0))]);
}

/** An animation of so many pictures of one pixel. */
function animation(frames: number): Buffer {
  const frame = Buffer.from('21f90400010000002c0000000001000100000202440100', 'hex');
  return Buffer.concat([
    Buffer.from('GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff', 'latin1'),
    Buffer.alloc(frame.length * frames, frame),
    Buffer.from(';'),
  ]);
}

describe('a file is refused', () => {
  const one = () => readFileSync(make('one.mp4', ...pattern(0.04), ...h264, '-bf', '0'));
  test.each<[string, string, () => Buffer, RegExp]>([
    ['of 100,000 x 100,000 pixels', 'a.png', () => picture(100_000, 100_000), /pixels|a video stream/],
    [
      'that announces 10^9 frames',
      'a.mp4',
      () => {
        const tables = manySamples(1e9, 1e7);
        return rewritten(one(), (type) => tables[type]);
      },
      /more frames than|a video stream/,
    ],
    ['of 10^6 pictures', 'a.gif', () => animation(1e6), /has more than 500000 frames/],
  ])('%s, and others are answered meanwhile', async (_, name, bytesOf, message) => {
    expect(await refusalOf(name, bytesOf())).toMatchObject({ status: 400, message: expect.stringMatching(message) });
  });
});

describe('who sends slowly is not waited for:', () => {
  const { hostname, port } = { hostname: '127.0.0.1', port: () => Number(new URL(service.url).port) };
  const head = (path: string, type: string) =>
    `POST ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key\r\nContent-Type: ${type}\r\nContent-Length: 1000\r\n\r\n`;

  test.each([
    ['a question', '/v1/chat/completions', 'application/json', '{"messages":'],
    ['an announcement', '/v1/uploads', 'application/json', '{"filename":'],
    [
      'a file',
      '/v1/files',
      'multipart/form-data; boundary=b',
      '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nsome of it',
    ],
    ['a form', '/v1/files', 'multipart/form-data; boundary=b', '--b\r\nContent-Disposition: '],
  ])('%s', async (_, path, type, begin) => {
    const socket = connect(port(), hostname);
    socket.write(head(path, type) + begin);
    const answer = await text(socket);
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
  });

  test('nor is a file that comes byte by byte, nobody else waits for it', async () => {
    const sending = request(`${service.url}/v1/files`, {
      method: 'POST',
      headers: { authorization: 'Bearer key', 'content-type': 'multipart/form-data; boundary=b' },
    });
    sending.on('error', () => {});
    sending.write('--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n');
    const bytes = setInterval(() => sending.write('a'), 20);
    expect((await client.models.list()).data).toHaveLength(1);
    clearInterval(bytes);
    sending.destroy();
  });
});

test('thousands of wrong keys are refused, and the right one is taken', async () => {
  const statusOf = async (authorization: string, path = '/v1/uploads') =>
    (await fetch(`${service.url}${path}`, { method: 'POST', headers: { authorization } })).status;
  const wrong = Array.from({ length: 1000 }, (_, i) => statusOf(`Bearer key${i}`));
  expect(new Set(await Promise.all(wrong))).toEqual(new Set([401]));
  for (const odd of ['Bearer', 'Basic a2V5', 'key', `Bearer ${'k'.repeat(8000)}`, 'Bearer key key'])
    expect(await statusOf(odd)).toBe(401);
  expect(await statusOf('bearer key')).toBe(400);
});
