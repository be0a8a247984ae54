import { describe, expect, test } from 'vitest';
import { float32Tensor } from '../../../dist/base/tensor.js';
import { reduceTokens } from '../../../dist/reduce/reduceTokens.js';

/** Tokens [count, 2]: token i holds i and -10 i. */
const ramp = (count: number) =>
  float32Tensor(
    Float32Array.from({ length: 2 * count }, (_, at) => (at % 2 === 0 ? at / 2 : -5 * (at - 1))),
    [count, 2],
  );

const first = ({ data }: { data: Float32Array }) => [...data].filter((_, at) => at % 2 === 0);

describe("reduceTokens() by 'pool'", () => {
  test.each([
    [6, 3, [2, 2, 2], [0.5, 2.5, 4.5]],
    // Groups [0, 2), [2, 4), [4, 7): the rest falls where floor() lets it.
    [7, 3, [2, 2, 3], [0.5, 2.5, 5]],
    [5, 4, [1, 1, 1, 2], [0, 1, 2, 3.5]],
    [5, 1, [5], [2]],
    [4, 4, [1, 1, 1, 1], [0, 1, 2, 3]],
    [1, 1, [1], [0]],
  ])('averages consecutive tokens: %i to %i', (count, keep, sizes, means) => {
    const reduced = reduceTokens(ramp(count), keep, 'pool');
    expect(reduced.tokens.dims).toEqual([keep, 2]);
    expect([...reduced.sizes.data]).toEqual(sizes);
    expect(first(reduced.tokens)).toEqual(means);
    expect([...reduced.tokens.data].filter((_, at) => at % 2 === 1)).toEqual(means.map((mean) => -10 * mean + 0));
  });

  test('loses nothing to rounding where float32 sums would', () => {
    const data = new Float32Array(4097).fill(1);
    data[0] = 2 ** 24;
    const { tokens } = reduceTokens(float32Tensor(data, [4097, 1]), 1, 'pool');
    expect(tokens.data[0]).toBe(Math.fround((2 ** 24 + 4096) / 4097));
  });
});

describe("reduceTokens() by 'subsample'", () => {
  test.each([
    [6, 3, [1, 3, 5]],
    [7, 3, [1, 3, 5]],
    [5, 4, [0, 1, 3, 4]],
    [5, 1, [2]],
    [4, 4, [0, 1, 2, 3]],
    [2560, 2, [640, 1920]],
  ])('takes tokens at even distances: %i to %i', (count, keep, taken) => {
    const reduced = reduceTokens(ramp(count), keep, 'subsample');
    expect(first(reduced.tokens)).toEqual(taken);
    expect([...reduced.sizes.data]).toEqual(taken.map(() => 1));
  });
});

test.each(['pool', 'subsample'] as const)('reduceTokens() by %s tells where NaN is', (how) => {
  const tokens = ramp(6);
  tokens.data[5] = Number.NaN;
  expect(() => reduceTokens(tokens, 2, how)).toThrow(
    expect.objectContaining({
      code: 'ERR_LONGVLM_NOT_FINITE',
      message: expect.stringContaining('tokens holds NaN at [2, 1]'),
    }),
  );
});
