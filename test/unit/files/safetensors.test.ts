import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openSafetensors, readFloatTensor, readTensor, writeSafetensors } from '../../../dist/files/safetensors.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const folder = await temporaryFolder();
let files = 0;
const newPath = () => join(folder, `${files++}.safetensors`);

/** A file with any header, and so many bytes of data. */
async function damaged(header: unknown, dataBytes: number): Promise<string> {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(text.length));
  const path = newPath();
  await writeFile(path, Buffer.concat([prefix, text, Buffer.alloc(dataBytes)]));
  return path;
}

const entry = (dtype: string, shape: unknown, begin: number, end: number) => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

describe('openSafetensors()', () => {
  test('tells where each tensor lies, and the metadata', async () => {
    const path = await damaged(
      { __metadata__: { made: 'here' }, a: entry('F32', [2, 3], 8, 32), b: entry('I8', [8], 0, 8) },
      32,
    );
    const file = await openSafetensors(path);
    const dataStart = (await readFile(path)).length - 32;
    expect(file.metadata).toEqual({ made: 'here' });
    expect([...file.tensors.keys()]).toEqual(['a', 'b']);
    expect(file.tensors.get('a')).toEqual({
      name: 'a',
      type: 'F32',
      shape: [2, 3],
      file: path,
      offset: dataStart + 8,
      byteLength: 24,
    });
  });

  test('keeps a tensor of a type that cannot be read, which is refused only when read', async () => {
    const path = await damaged({ a: entry('F8_E4M3', [3], 0, 3) }, 3);
    const location = (await openSafetensors(path)).tensors.get('a')!;
    expect(location.type).toBe('F8_E4M3');
    await expect(readTensor(location)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: `${path}: tensor a is of type F8_E4M3, which cannot be read. Convert it to F32, F16 or BF16.`,
    });
  });

  test.each([
    [
      'data beyond the end',
      { a: entry('F32', [4], 0, 16) },
      15,
      /truncated: tensor a ends at byte \d+, the file at \d+/,
    ],
    ['overlapping tensors', { a: entry('F32', [2], 0, 8), b: entry('F32', [2], 4, 12) }, 12, /tensors a and b overlap/],
    [
      'bytes that do not match the shape',
      { a: entry('F16', [3], 0, 8) },
      8,
      /tensor a of type F16 and shape \[3\] takes 6 bytes, not 8/,
    ],
    ['offsets in reverse', { a: entry('F32', [0], 8, 0) }, 8, /tensor a has invalid data_offsets \[8, 0\]/],
    ['a negative size', { a: entry('F32', [-1], 0, 4) }, 4, /tensor a has no valid dtype, shape and data_offsets/],
    ['an entry that is no object', { a: 1 }, 0, /tensor a has no valid dtype/],
    ['a header that is no JSON', '{"a":', 0, /its header is no JSON object/],
    ['a header that is no object', '[1]', 0, /its header is no JSON object/],
  ])('refuses %s', async (_, header, bytes, message) => {
    const path = await damaged(header, bytes);
    await expect(openSafetensors(path)).rejects.toMatchObject({
      name: 'LongVLMError',
      code: 'ERR_LONGVLM_WEIGHTS',
      message,
    });
    await expect(openSafetensors(path)).rejects.toThrow(path);
  });

  test('refuses a header above 25 MB, a header beyond the end, and a file of a few bytes', async () => {
    const [huge, cut, tiny] = [newPath(), newPath(), newPath()];
    const length = Buffer.alloc(16);
    length.writeBigUInt64LE(25_000_001n);
    await writeFile(huge, length);
    length.writeBigUInt64LE(9n);
    await writeFile(cut, length);
    await writeFile(tiny, 'abc');
    await expect(openSafetensors(huge)).rejects.toThrow(
      /header would take 25000001 bytes, above the limit of 25000000/,
    );
    await expect(openSafetensors(cut)).rejects.toThrow(/truncated: its header ends at byte 17, the file at 16/);
    await expect(openSafetensors(tiny)).rejects.toThrow(/not a safetensors file: it has only 3 bytes/);
  });

  test('refuses a missing file and a folder', async () => {
    const code = 'ERR_LONGVLM_FILE';
    const missing = newPath();
    await expect(openSafetensors(missing)).rejects.toMatchObject({
      code,
      message: `${missing} does not exist. Check the path and its permissions.`,
    });
    await expect(openSafetensors(folder)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(`${folder} is a folder, not a file`),
    });
  });
});

describe('writeSafetensors() and readTensor()', () => {
  test('give back values, types, shapes and metadata', async () => {
    const path = newPath();
    const written = {
      bytes: { type: 'U8', shape: [3], data: new Uint8Array([1, 2, 255]) },
      floats: { type: 'F32', shape: [2, 1], data: new Float32Array([0.5, -3]) },
      halves: { type: 'F16', shape: [2], data: new Uint16Array([0x3c00, 0xc000]) },
      integers: { type: 'I32', shape: [1], data: new Int32Array([-7]) },
      longs: { type: 'I64', shape: [1], data: new BigInt64Array([-(2n ** 40n)]) },
      doubles: { type: 'F64', shape: [], data: new Float64Array([0.1]) },
      nothing: { type: 'F32', shape: [0, 4], data: new Float32Array(0) },
    } as const;
    await writeSafetensors(path, written, { größe: 'ü' });
    const file = await openSafetensors(path);
    expect(file.metadata).toEqual({ größe: 'ü' });
    for (const [name, { type, shape, data }] of Object.entries(written)) {
      const location = file.tensors.get(name)!;
      expect([location.type, location.shape]).toEqual([type, shape]);
      expect(await readTensor(location)).toEqual(data);
      // The promise that element types are aligned, whatever the order of names.
      expect(location.offset % data.BYTES_PER_ELEMENT).toBe(0);
    }
    expect(await readFloatTensor(file.tensors.get('halves')!)).toMatchObject({ type: 'float16', dims: [2] });
    await expect(readFloatTensor(file.tensors.get('bytes')!)).rejects.toThrow(
      /tensor bytes is of type U8 where F32, F16 or BF16 is needed/,
    );
  });

  test('makes data in the order given, which is not that of the file', async () => {
    const made: string[] = [];
    const making = (name: string, data: ArrayBufferView) => async () => {
      made.push(name);
      return data;
    };
    const path = newPath();
    await writeSafetensors(path, {
      bytes: { type: 'U8', shape: [3], data: making('bytes', Uint8Array.of(1, 2, 3)) },
      floats: { type: 'F32', shape: [1], data: making('floats', Float32Array.of(0.5)) },
    });
    expect(made).toEqual(['bytes', 'floats']);
    const { tensors } = await openSafetensors(path);
    expect([...tensors.keys()]).toEqual(['floats', 'bytes']);
    expect(await readTensor(tensors.get('floats')!)).toEqual(Float32Array.of(0.5));
    expect(await readTensor(tensors.get('bytes')!)).toEqual(Uint8Array.of(1, 2, 3));
  });

  test('widens BF16 exactly', async () => {
    const path = newPath();
    await writeSafetensors(path, { a: { type: 'BF16', shape: [3], data: new Uint16Array([0x3f80, 0xc049, 0x0001]) } });
    const values = await readTensor((await openSafetensors(path)).tensors.get('a')!);
    expect(values).toEqual(new Float32Array([1, -3.140625, 2 ** -133]));
  });

  test('writes a view alone, not the buffer below it', async () => {
    const path = newPath();
    await writeSafetensors(path, {
      a: { type: 'F32', shape: [2], data: new Float32Array([1, 2, 3, 4]).subarray(1, 3) },
    });
    expect(await readTensor((await openSafetensors(path)).tensors.get('a')!)).toEqual(new Float32Array([2, 3]));
  });

  test('notices a file that was cut after it was opened', async () => {
    const path = newPath();
    await writeSafetensors(path, { a: { type: 'F32', shape: [64], data: new Float32Array(64) } });
    const location = (await openSafetensors(path)).tensors.get('a')!;
    await writeFile(path, (await readFile(path)).subarray(0, -4));
    await expect(readTensor(location)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: expect.stringMatching(/truncated/),
    });
  });

  test('refuses data that do not match their shape, and leaves the old file', async () => {
    const path = newPath();
    await writeFile(path, 'old');
    const wrong = { a: { type: 'F32', shape: [3], data: new Float32Array(2) } } as const;
    await expect(writeSafetensors(path, wrong)).rejects.toMatchObject({
      name: 'RangeError',
      message: 'Expected 12 bytes for a of type F32 and shape [3] but received 8',
    });
    expect(await readFile(path, 'utf8')).toBe('old');
  });

  test('leaves nothing behind when it fails', async () => {
    const inside = join(folder, 'fails');
    await mkdir(join(inside, 'taken', 'full'), { recursive: true });
    const tensors = { a: { type: 'F32', shape: [1], data: new Float32Array(1) } } as const;
    // A folder that is not empty cannot be replaced: the last step fails.
    await expect(writeSafetensors(join(inside, 'taken'), tensors)).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE' });
    await expect(writeSafetensors(join(inside, 'none', 'file'), tensors)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
    });
    expect(await readdir(inside)).toEqual(['taken']);
  });
});
