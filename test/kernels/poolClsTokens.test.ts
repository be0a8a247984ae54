import { beforeAll, describe, expect, test } from 'vitest';
import { float32Tensor, halfToNumber, numberToHalf, type Tensor } from '../../dist/base/tensor.js';
import { poolClsTokens } from '../../dist/kernels/index.js';
import { instructionSets, useInstructionSet } from './instructionSets.js';
import { random, randomTensor, toHalf, values } from './tensors.js';

function exactMeans(cls: Tensor): number[] {
  const frames = cls.dims[0]!;
  const all = values(cls);
  const width = all.length / frames;
  return Array.from({ length: width }, (_, c) => {
    let sum = 0;
    for (let frame = 0; frame < frames; frame++) sum += all[frame * width + c]!;
    return sum / frames;
  });
}

describe.each(instructionSets)('poolClsTokens() on %s', (instructionSet) => {
  beforeAll(() => useInstructionSet(instructionSet));

  test.each([
    [1, 1, 1],
    [2, 3, 5],
    [7, 5, 33],
    [100, 5, 1024],
    [641, 2, 67],
  ])('averages %i frames of %i × %i', async (frames, layers, channels) => {
    // Far from zero, where float32 sums of hundreds would lose three digits.
    const cls = randomTensor(frames, [frames, layers, channels]);
    for (const [index, value] of cls.data.entries()) cls.data[index] = 1000 + value;
    const pooled = await poolClsTokens(cls);
    expect(pooled.dims).toEqual([layers, channels]);
    expect([...pooled.data]).toEqual(exactMeans(cls).map(Math.fround));
    const half = toHalf(cls);
    const pooledHalf = await poolClsTokens(half);
    expect(pooledHalf.type).toBe('float16');
    expect([...pooledHalf.data]).toEqual(exactMeans(half).map((mean) => numberToHalf(Math.fround(mean))));
  });

  test('reads and writes every finite half-precision number', async () => {
    const halves = Uint16Array.from(Array(65536).keys()).filter((bits) => (bits & 0x7c00) !== 0x7c00);
    for (const dims of [
      [1, 1, halves.length],
      [1, halves.length, 1],
    ]) {
      const pooled = await poolClsTokens({ type: 'float16', data: halves, dims });
      // -0 becomes 0: it is added to 0.
      expect(pooled.data).toEqual(halves.map((bits) => (bits === 0x8000 ? 0 : bits)));
    }
  });

  test('rounds to the nearest half, ties to even', async () => {
    const next = random(3);
    const pairs = Uint16Array.from(
      { length: 2 * 4001 },
      () => Math.floor(next() * 0x7c00) | (next() < 0.5 ? 0x8000 : 0),
    );
    // Neighbours have a mean half-way between them.
    for (let i = 0; i < 2000; i++) pairs[4001 + i] = pairs[i]! ^ 1;
    const pooled = await poolClsTokens({ type: 'float16', data: pairs, dims: [2, 1, 4001] });
    const expected = Array.from({ length: 4001 }, (_, i) =>
      numberToHalf(Math.fround((halfToNumber(pairs[i]!) + halfToNumber(pairs[4001 + i]!)) / 2)),
    );
    expect([...pooled.data]).toEqual(
      expected.map((bits) => (bits === 0x8000 ? pooled.data[expected.indexOf(bits)]! : bits)),
    );
  });

  test('says where NaN is', async () => {
    const cls = randomTensor(1, [6, 3, 10]);
    cls.data[(4 * 3 + 2) * 10 + 9] = Number.NaN;
    await expect(poolClsTokens(cls)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_NOT_FINITE',
      message: expect.stringContaining('cls holds NaN at frame 4, layer 2, channel 9.'),
    });
  });
});

describe('poolClsTokens()', () => {
  test('rejects wrong arguments', async () => {
    await expect(poolClsTokens(randomTensor(1, [2, 3]))).rejects.toMatchObject({
      name: 'RangeError',
      message: 'Expected shape [frames, layers, channels] for cls but received [2, 3]',
    });
    await expect(poolClsTokens(float32Tensor(new Float32Array(0), [0, 5, 8]))).rejects.toMatchObject({
      name: 'RangeError',
      message: expect.stringContaining('for cls.dims but received [0, 5, 8]'),
    });
    await expect(poolClsTokens('cls' as never)).rejects.toMatchObject({ name: 'TypeError' });
  });
});
