// What leaves tokens as they are, counts them differently, and brings them back.
import { describe, expect, test } from 'vitest';
import { float32Tensor } from '../../dist/base/tensor.js';
import { bipartiteSoftMatching, mergeTokens, mergeTokensSync, unmergeTokens } from '../../dist/kernels/index.js';
import { randomTensor, relativeError, toHalf, values } from './tensors.js';

const x = randomTensor(7, [2, 61, 24]);

describe('protect', () => {
  test.each([1, 2, 5, 61])('leaves the first %i tokens as they are, in front', async (protect) => {
    const keep = Math.min(61, protect + 4);
    const merged = await mergeTokens(x, { heads: 2, keep, protect });
    expect(merged.tokens.dims).toEqual([2, keep, 24]);
    for (let segment = 0; segment < 2; segment++) {
      const first = x.data.subarray(segment * 61 * 24, (segment * 61 + protect) * 24);
      expect(merged.tokens.data.subarray(segment * keep * 24, (segment * keep + protect) * 24)).toEqual(first);
      for (let token = 0; token < protect; token++) {
        expect(merged.assignment[segment * 61 + token]).toBe(token);
        expect(merged.sizes.data[segment * keep + token]).toBe(1);
      }
    }
    expect(merged.sizes.data.reduce((sum, size) => sum + size)).toBe(2 * 61);
  });

  test('is told in the matching', async () => {
    const matching = await bipartiteSoftMatching(x, 100, { protect: 3 });
    // 58 tokens take part: A are 4, 6, … 60 and B are 3, 5, … 59.
    expect(matching).toMatchObject({ protect: 3, r: 29, tokens: 32 });
    expect(matching.unmerged).toHaveLength(0);
    expect([...matching.source.subarray(0, 29)].sort((a, b) => a - b)).toEqual(
      Array.from({ length: 29 }, (_, i) => 4 + 2 * i),
    );
    expect([...matching.destination].every((token) => token % 2 === 1 && token >= 3)).toBe(true);
    const merged = await matching.merge(x);
    expect(merged.data.subarray(0, 3 * 24)).toEqual(x.data.subarray(0, 3 * 24));
  });

  test.each<[unknown, string, RegExp]>([
    [-1, 'RangeError', /integer between 0 and 61 for protect but received -1/],
    [62, 'RangeError', /integer between 0 and 61 for protect but received 62/],
    ['1', 'TypeError', /for protect but received '1'/],
  ])('cannot be %s', async (protect, name, message) => {
    const error = { name, message: expect.stringMatching(message) };
    await expect(mergeTokens(x, { heads: 1, schedule: [2], protect: protect as number })).rejects.toMatchObject(error);
    await expect(bipartiteSoftMatching(x, 2, { protect: protect as number })).rejects.toMatchObject(error);
  });

  test('needs a keep beyond it', async () => {
    await expect(mergeTokens(x, { heads: 1, keep: 5, protect: 5 })).rejects.toThrow(
      'Expected at most 61 and more than the 5 protected tokens for keep but received 5',
    );
    await expect(mergeTokens(x, { heads: 1, keep: 62, protect: 5 })).rejects.toThrow(/for keep but received 62/);
  });
});

describe('sizes', () => {
  test('weight the means, and add up', async () => {
    const sizes = float32Tensor(
      Float32Array.from({ length: 122 }, (_, i) => 1 + (i % 7) / 2),
      [2, 61],
    );
    for (const tokens of [x, toHalf(x)]) {
      const merged = await mergeTokens(tokens, { heads: 3, keep: 6, sizes });
      const input = values(tokens);
      const sums = new Float64Array(12 * 24);
      const totals = new Float64Array(12);
      for (let token = 0; token < 122; token++) {
        const slot = Math.floor(token / 61) * 6 + merged.assignment[token]!;
        totals[slot]! += sizes.data[token]!;
        for (let c = 0; c < 24; c++) sums[slot * 24 + c]! += input[token * 24 + c]! * sizes.data[token]!;
      }
      expect([...merged.sizes.data]).toEqual([...totals]);
      const means = sums.map((sum, i) => sum / totals[Math.floor(i / 24)]!);
      expect(relativeError(values(merged.tokens), means)).toBeLessThan(tokens === x ? 6e-8 : 2 ** -11);
    }
  });

  test('let two merges be one', () => {
    const schedule = [30, 15, 7];
    const whole = mergeTokensSync(x, { heads: 1, schedule });
    const first = mergeTokensSync(x, { heads: 1, schedule: schedule.slice(0, 1) });
    const second = mergeTokensSync(first.tokens, { heads: 1, schedule: schedule.slice(1), sizes: first.sizes });
    expect([...second.sizes.data]).toEqual([...whole.sizes.data]);
    expect(relativeError(second.tokens.data, whole.tokens.data)).toBeLessThan(1e-6);
    const through = first.assignment.map((slot, i) => second.assignment[Math.floor(i / 61) * 31 + slot]!);
    expect(through).toEqual(whole.assignment);
  });

  test.each<[unknown, RegExp]>([
    [float32Tensor(new Float32Array(61).fill(1), [61]), /Expected shape \[2, 61\] for sizes/],
    [float32Tensor(new Float32Array(122), [2, 61]), /finite number above 0 for sizes.data\[0\] but received 0/],
    [float32Tensor(new Float32Array(122).fill(Number.NaN), [2, 61]), /for sizes.data\[0\] but received NaN/],
  ])('have to be one positive number for each token', async (sizes, message) => {
    await expect(mergeTokens(x, { heads: 1, keep: 3, sizes: sizes as never })).rejects.toThrow(message);
  });
});

describe('unmergeTokens()', () => {
  test('copies each merged token to where it came from', async () => {
    for (const tokens of [x, toHalf(x)]) {
      const merged = await mergeTokens(tokens, { heads: 2, keep: 7 });
      const back = await unmergeTokens(merged.tokens, merged.assignment);
      expect(back).toMatchObject({ type: tokens.type, dims: [2, 61, 24] });
      for (let token = 0; token < 122; token++) {
        const slot = Math.floor(token / 61) * 7 + merged.assignment[token]!;
        expect(back.data.subarray(token * 24, token * 24 + 24)).toEqual(
          merged.tokens.data.subarray(slot * 24, slot * 24 + 24),
        );
      }
    }
  });

  test('takes one segment without its axis, and any number of channels', async () => {
    const one = float32Tensor(x.data.subarray(0, 61 * 24), [61, 24]);
    const { assignment } = await mergeTokens(one, { heads: 2, keep: 4 });
    const labels = float32Tensor(Float32Array.of(0, 1, 2, 3), [4, 1]);
    expect(await unmergeTokens(labels, assignment)).toEqual(float32Tensor(Float32Array.from(assignment), [61, 1]));
  });

  test('rejects wrong arguments', async () => {
    const merged = randomTensor(1, [2, 3, 4]);
    await expect(unmergeTokens(merged, [0, 1] as never)).rejects.toThrow(/Int32Array for assignment/);
    await expect(unmergeTokens(merged, new Int32Array(3))).rejects.toThrow(
      /positive multiple of the 2 segments for assignment.length but received 3/,
    );
    await expect(unmergeTokens(merged, Int32Array.of(0, 3))).rejects.toThrow(/assignment\[1\] is invalid: 3/);
    await expect(unmergeTokens({ ...merged, dims: [24] }, new Int32Array(2))).rejects.toThrow(/Expected shape/);
  });
});
