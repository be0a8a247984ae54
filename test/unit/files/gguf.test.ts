import { readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { clearWeights, listWeights } from '../../../dist/cache/weightsCache.js';
import { withoutQuantization } from '../../../dist/cache/withoutQuantization.js';
import { openGguf } from '../../../dist/files/gguf.js';
import { openWeights } from '../../../dist/files/openWeights.js';
import { readFloatTensor } from '../../../dist/files/safetensors.js';
import type { WeightFile } from '../../../dist/files/tensorFile.js';
import { relativeError } from '../../fixtures/index.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const quantized = fileURLToPath(new URL('../../fixtures/gguf/quantized.gguf', import.meta.url));
const quantizedTypes = ['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'Q4_K', 'Q5_K', 'Q6_K'];
const folder = await temporaryFolder();
let files = 0;

async function saved(bytes: Uint8Array): Promise<string> {
  const path = join(folder, `${files++}.gguf`);
  await writeFile(path, bytes);
  return path;
}

describe('openGguf()', () => {
  test('gives the metadata as they were written', async () => {
    const { metadata } = await openGguf(quantized);
    expect(Object.fromEntries(metadata)).toMatchObject({
      'general.architecture': 'none',
      'a.text': 'straße',
      'a.large': 2n ** 60n,
      'a.small': -3,
      'a.yes': true,
      'a.list': [1, 2, 3],
      'a.words': ['x', 'yz'],
      'a.double': 0.1,
    });
  });

  test('tells where each tensor lies, row-major', async () => {
    const plain = (await openGguf(quantized)).tensors.get('plain')!;
    expect(plain).toMatchObject({ type: 'F32', shape: [2, 3], byteLength: 24, file: quantized });
    expect([...(await readFloatTensor(plain)).data]).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test('refuses a file that was cut, wherever', async () => {
    const whole = await readFile(quantized);
    const { tensors } = await openGguf(quantized);
    const dataStart = Math.min(...[...tensors.values()].map(({ offset }) => offset));
    const cuts = [4, 7, 8, 24, 30, 200, dataStart - 40, dataStart, dataStart + 1, whole.length - 1];
    for (const bytes of cuts) {
      const path = await saved(whole.subarray(0, bytes));
      await expect(openGguf(path), `cut at ${bytes}`).rejects.toMatchObject({
        code: 'ERR_LONGVLM_WEIGHTS',
        message: expect.stringMatching(/^.*\.gguf: truncated: .+\. Download the file again\.$/),
      });
    }
  });

  // The header of `quantized`: magic, version at 4, counts of tensors at 8 and of values at 16, the first key's length at 24.
  test.each<[string, (view: DataView) => void, RegExp]>([
    ['another kind of file', (view) => view.setUint8(0, 0), /not a GGUF file/],
    ['a version of later years', (view) => view.setUint32(4, 9, true), /GGUF version 9 cannot be read/],
    [
      'a count of tensors beyond the file',
      (view) => view.setBigUint64(8, 2n ** 40n, true),
      /claims 1099511627776 tensors/,
    ],
    ['a count beyond all numbers', (view) => view.setBigUint64(8, 2n ** 63n, true), /a size of \d+ in its header/],
    [
      'a count of values beyond the file',
      (view) => view.setBigUint64(16, 2n ** 40n, true),
      /claims 1099511627776 values/,
    ],
    ['a key as long as the world', (view) => view.setBigUint64(24, 2n ** 50n, true), /truncated/],
    ['a value of no type', (view) => view.setUint32(24 + 8 + 20, 99, true), /a value of the unknown type 99/],
  ])('refuses %s', async (_, damage, message) => {
    const bytes = Uint8Array.from(await readFile(quantized));
    damage(new DataView(bytes.buffer));
    const path = await saved(bytes);
    await expect(openGguf(path)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: expect.stringMatching(message),
    });
  });

  test('refuses lists in lists, which would fill the stack', async () => {
    const header = Buffer.alloc(24 + 8 + 1 + 4);
    header.write('GGUF');
    header.writeUInt32LE(3, 4);
    header.writeUInt32LE(1, 16);
    header.writeUInt32LE(1, 24);
    header.writeUInt32LE(9, 33);
    const list = Buffer.alloc(12);
    list.writeUInt32LE(9);
    list.writeUInt32LE(1, 4);
    const path = await saved(Buffer.concat([header, ...Array.from({ length: 50_000 }, () => list)]));
    await expect(openGguf(path)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: expect.stringMatching(/lists in lists/),
    });
  });

  test('refuses a name that occurs twice', async () => {
    const bytes = await readFile(quantized);
    bytes.write('Q4_0', bytes.indexOf('Q4_1'));
    await expect(openGguf(await saved(bytes))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: expect.stringMatching(/tensor (expected\.)?Q4_0 occurs twice/),
    });
  });

  test('never breaks on random damage', async () => {
    const whole = await readFile(quantized);
    const random = generator(7);
    for (let round = 0; round < 200; round++) {
      const bytes = Uint8Array.from(whole);
      for (let i = 0; i < 8; i++) bytes[Math.floor(random() * 2500)] = Math.floor(random() * 256);
      const opened = await openGguf(await saved(bytes)).catch((error: unknown) => error);
      if (opened instanceof Error) expect(opened).toMatchObject({ code: 'ERR_LONGVLM_WEIGHTS' });
    }
  });
});

describe('withoutQuantization()', () => {
  const before = process.env.LONGVLM_CACHE;
  beforeAll(() => {
    process.env.LONGVLM_CACHE = join(folder, 'cache');
  });
  afterAll(() => {
    if (before === undefined) delete process.env.LONGVLM_CACHE;
    else process.env.LONGVLM_CACHE = before;
  });

  /** The file of the cache; what can be read where it lies stays there. */
  const madeFile = ({ tensors }: WeightFile) => {
    expect(tensors.get('plain')!.file).toBe(quantized);
    return tensors.get('Q4_0')!.file;
  };

  test.each(quantizedTypes)('reads %s as gguf-py does', async (type) => {
    const { tensors } = await withoutQuantization(await openWeights(quantized));
    const found = await readFloatTensor(tensors.get(type)!);
    const due = await readFloatTensor(tensors.get(`expected.${type}`)!);
    expect(found.dims).toEqual([3, 512]);
    expect(relativeError(found.data, due.data)).toBeLessThan(1e-6);
  });

  test('writes the cache once, and again when it is damaged', async () => {
    const file = await openWeights(quantized);
    const [first, second] = await Promise.all([withoutQuantization(file), withoutQuantization(file)]);
    const made = madeFile(first);
    expect(madeFile(second)).toBe(made);
    const whole = await readFile(made);
    await writeFile(made, whole.subarray(0, 1000));
    expect(madeFile(await withoutQuantization(await openWeights(quantized)))).toBe(made);
    expect(await readFile(made)).toEqual(whole);
  });

  test('goes on for others when whoever began gives up, and leaves nothing unfinished', async () => {
    const file = await openWeights(quantized);
    const weights = join(folder, 'cache', 'weights');
    await rm(weights, { recursive: true, force: true });
    const controller = new AbortController();
    const [first, second] = [withoutQuantization(file, { signal: controller.signal }), withoutQuantization(file)];
    controller.abort(new Error('enough'));
    await expect(first).rejects.toThrow('enough');
    const path = madeFile(await second);
    expect(await readdir(weights)).toEqual([basename(path)]);
    expect((await listWeights()).map(({ name }) => name)).toEqual([`${basename(quantized)} in float32`]);
  });

  test('removes what was not used for a month and what ended processes left, when the next is written', async () => {
    const weights = join(folder, 'cache', 'weights');
    const path = madeFile(await withoutQuantization(await openWeights(quantized)));
    const days = (count: number) => new Date(Date.now() - count * 24 * 3600 * 1000);
    // Files of caches are named by hashes, and may be empty.
    const [used, fresh, unused, old] = ['1', '2', '3', '4'].map((digit) => `${digit.repeat(64)}.safetensors`);
    const kept: Record<string, number> = { [used!]: 29, [`${fresh}.abc.tmp`]: 0.9 };
    const gone: Record<string, number> = { [unused!]: 31, [`${old}.abc.tmp`]: 1.1 };
    for (const [name, age] of Object.entries({ ...kept, ...gone })) {
      await writeFile(join(weights, name), '');
      await utimes(join(weights, name), days(age), days(age));
    }
    // Nothing is written, and nothing goes, while what is wanted is there; looking for it is using it.
    await utimes(path, days(40), days(40));
    await withoutQuantization(await openWeights(quantized));
    expect(await readdir(weights)).toHaveLength(5);
    expect((await stat(path)).mtimeMs).toBeGreaterThan(days(1).getTime());
    await rm(path);
    await withoutQuantization(await openWeights(quantized));
    expect((await readdir(weights)).sort()).toEqual([...Object.keys(kept), basename(path)].sort());
    expect((await listWeights()).map(({ file }) => basename(file))).toEqual([basename(path), used]);
    // Cleared, even of a temporary file that is new: no lock says that it is being written.
    expect(await clearWeights()).toHaveLength(2);
    expect(await readdir(weights)).toEqual([]);
  });

  test('leaves a file alone in which nothing is quantised', async () => {
    const file = await openWeights(fileURLToPath(new URL('../../fixtures/pico/mmproj.gguf', import.meta.url)));
    expect(await withoutQuantization(file)).toBe(file);
  });
});

function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
