// Uploads in parts over HTTP, by OpenAI's client and by one whose connection breaks.
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import OpenAI, { toFile } from 'openai';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { LongVLM, Service } from '../../../dist/index.js';
import { startService } from '../../../dist/index.js';

const temporary = mkdtempSync(path.join(tmpdir(), 'longvlm-uploads-'));
const before = process.env.TMPDIR;
// No route of these asks a model.
const vlm = { preset: 'none' } as LongVLM;
let service: Service;
let client: OpenAI;

beforeAll(async () => {
  process.env.TMPDIR = temporary;
  service = await startService(vlm, { port: 0, limits: { maxBytes: 3 << 20 }, uploads: { mostBytes: 6 << 20 } });
  client = new OpenAI({ baseURL: `${service.url}/v1`, apiKey: 'none', maxRetries: 0 });
});
afterAll(async () => {
  await service.close();
  if (before === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = before;
  rmSync(temporary, { recursive: true });
});

/** The files on disk, in order of their names. */
const files = () =>
  readdirSync(temporary, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 10));
}

const content = randomBytes(300_000);
const pieces = [content.subarray(0, 100_000), content.subarray(100_000, 250_000), content.subarray(250_000)];
const begin = (bytes = content.length) =>
  client.uploads.create({ filename: 'a film.mp4', bytes, mime_type: 'video/mp4', purpose: 'vision' });
const send = async (id: string, piece: Buffer) =>
  (await client.uploads.parts.create(id, { data: await toFile(piece, 'part') })).id;
beforeEach(() => expect(files()).toEqual([]));

describe('an upload in parts', () => {
  test('is the file of its parts in the order in which they are named, whatever the order in which they came', async () => {
    const { id, ...upload } = await begin();
    expect(upload).toMatchObject({ object: 'upload', bytes: 300_000, status: 'pending', file: null });
    const ids = await Promise.all([...pieces].reverse().map((piece) => send(id, piece)));
    expect((await client.files.list()).data).toEqual([]);
    const md5 = createHash('md5').update(content).digest('hex');
    const body = { part_ids: [...ids].reverse(), md5 };
    const completed = await client.uploads.complete(id, body);
    expect(completed).toMatchObject({ id, status: 'completed', file: { bytes: 300_000, filename: 'a film.mp4' } });
    expect(files()).toHaveLength(1);
    expect(path.extname(files()[0]!)).toBe('.mp4');
    expect(readFileSync(files()[0]!).equals(content)).toBe(true);
    // An answer that got lost is asked for again.
    expect((await client.uploads.complete(id, body)).file).toEqual(completed.file);
    await expect(client.uploads.complete(id, { part_ids: ids })).rejects.toMatchObject({ status: 400 });
    await expect(send(id, pieces[0]!)).rejects.toMatchObject({ status: 400 });
    await client.files.delete(completed.file!.id);
  });

  test('goes on after a part that broke off, of which nothing stays', async () => {
    const { id } = await begin();
    const first = await send(id, pieces[0]!);
    const { hostname, port } = new URL(service.url);
    const broken = request({
      ...{ hostname, port, method: 'POST', path: `/v1/uploads/${id}/parts` },
      headers: { 'content-type': 'multipart/form-data; boundary=b' },
    });
    broken.on('error', () => {});
    broken.write('--b\r\nContent-Disposition: form-data; name="data"; filename="a"\r\n\r\n');
    broken.write(pieces[1]);
    await until(() => files().length === 2);
    broken.destroy();
    await until(() => files().length === 1);
    const { parts } = (await (await fetch(`${service.url}/v1/uploads/${id}`)).json()) as { parts: object[] };
    expect(parts).toEqual([{ id: first, bytes: 100_000 }]);
    const rest = [await send(id, pieces[1]!), await send(id, pieces[2]!)];
    const { file } = await client.uploads.complete(id, { part_ids: [first, ...rest] });
    expect(readFileSync(files()[0]!).equals(content)).toBe(true);
    await client.files.delete(file!.id);
  });

  test.each<[string, (ids: string[]) => object, RegExp]>([
    ['part is missing', (ids) => ({ part_ids: ids.slice(1) }), /have 200000 bytes, .* announced with 300000/],
    ['part is named twice', (ids) => ({ part_ids: [...ids, ids[0]] }), /named twice/],
    ['part is none of its own', (ids) => ({ part_ids: [...ids.slice(1), 'part_x'] }), /no part part_ids\[2\]/],
    ['sum is another', (ids) => ({ part_ids: ids, md5: 'f'.repeat(32) }), /another MD5/],
  ])('stays as it is where a %s', async (_, bodyOf, message) => {
    const { id } = await begin();
    const ids: string[] = [];
    for (const piece of pieces) ids.push(await send(id, piece));
    const failing = client.uploads.complete(id, bodyOf(ids) as OpenAI.UploadCompleteParams);
    await expect(failing).rejects.toMatchObject({ status: 400, message: expect.stringMatching(message) });
    expect(files()).toHaveLength(3);
    const { file } = await client.uploads.complete(id, { part_ids: ids });
    expect(files()).toHaveLength(1);
    await client.files.delete(file!.id);
  });

  test('leaves nothing once it is cancelled', async () => {
    const { id } = await begin();
    await send(id, pieces[0]!);
    expect(await client.uploads.cancel(id)).toMatchObject({ id, status: 'cancelled' });
    expect(files()).toEqual([]);
    await expect(send(id, pieces[1]!)).rejects.toMatchObject({ status: 404 });
  });

  test('is refused where it is larger than a file may be, in all or in its parts', async () => {
    await expect(begin((3 << 20) + 1)).rejects.toMatchObject({ status: 413 });
    const { id } = await begin(10);
    await expect(send(id, Buffer.alloc((3 << 20) + 1))).rejects.toMatchObject({ status: 413 });
    await client.uploads.cancel(id);
  });

  test('is refused where there is no room beside the others, until one goes', async () => {
    const large = Buffer.alloc(3 << 20);
    const { id } = await begin(large.length);
    const ids = [await send(id, large), await send(id, large)];
    await expect(begin()).rejects.toMatchObject({ status: 507 });
    await expect(client.uploads.complete(id, { part_ids: [ids[0]!] })).rejects.toMatchObject({ status: 507 });
    expect(files()).toHaveLength(2);
    await client.uploads.cancel(id);
    await client.uploads.cancel((await begin()).id);
  });
});

test('what is not completed in time goes, as does all of it with the service', async () => {
  const other = await startService(vlm, { port: 0, uploads: { pendingSeconds: 0.2 } });
  const uploads = new OpenAI({ baseURL: `${other.url}/v1`, apiKey: 'none', maxRetries: 0 }).uploads;
  const start = () => uploads.create({ filename: 'a', bytes: 9, mime_type: 'video/mp4', purpose: 'vision' });
  const { id } = await start();
  await uploads.parts.create(id, { data: await toFile(Buffer.alloc(9), 'a') });
  await until(() => files().length === 0);
  await expect(uploads.complete(id, { part_ids: ['a'] })).rejects.toMatchObject({ status: 404 });
  await uploads.parts.create((await start()).id, { data: await toFile(Buffer.alloc(9), 'a') });
  await other.close();
  expect(files()).toEqual([]);
});
