import { describe, expect, test } from 'vitest';
import { type Float32Tensor, float32Tensor } from '../../../dist/base/tensor.js';
import { mergeTokens } from '../../../dist/kernels/index.js';
import type { Reducer } from '../../../dist/reduce/reducer.js';
import { makeReducer } from '../../../dist/reduce/reducers.js';

function reduce(tokens: Float32Tensor, keep: number, how: string) {
  const [patches, channels] = tokens.dims as [number, number];
  const segment = { frames: 1, patches, grid: [1, patches] as const, channels };
  const reducer = makeReducer(how, { tokensPerSegment: keep, mergeHeads: 1 }) as Reducer;
  reducer.check(segment);
  expect(reducer.count(segment)).toBe(keep);
  return reducer.reduce(tokens, segment);
}

/** Tokens [count, 2]: token i holds i and -10 i. */
const ramp = (count: number) =>
  float32Tensor(
    Float32Array.from({ length: 2 * count }, (_, at) => (at % 2 === 0 ? at / 2 : -5 * (at - 1))),
    [count, 2],
  );

const first = ({ data }: { data: Float32Array }) => [...data].filter((_, at) => at % 2 === 0);

describe("a reducer by 'pool'", () => {
  test.each([
    [6, 3, [2, 2, 2], [0.5, 2.5, 4.5]],
    // Groups [0, 2), [2, 4), [4, 7): the rest falls where floor() lets it.
    [7, 3, [2, 2, 3], [0.5, 2.5, 5]],
    [5, 4, [1, 1, 1, 2], [0, 1, 2, 3.5]],
    [5, 1, [5], [2]],
    [4, 4, [1, 1, 1, 1], [0, 1, 2, 3]],
    [1, 1, [1], [0]],
  ])('averages consecutive tokens: %i to %i', async (count, keep, sizes, means) => {
    const reduced = await reduce(ramp(count), keep, 'pool');
    expect(reduced.tokens.dims).toEqual([keep, 2]);
    expect([...reduced.sizes.data]).toEqual(sizes);
    expect(first(reduced.tokens)).toEqual(means);
    expect([...reduced.tokens.data].filter((_, at) => at % 2 === 1)).toEqual(means.map((mean) => -10 * mean + 0));
  });

  test('loses nothing to rounding where float32 sums would', async () => {
    const data = new Float32Array(4097).fill(1);
    data[0] = 2 ** 24;
    const { tokens } = await reduce(float32Tensor(data, [4097, 1]), 1, 'pool');
    expect(tokens.data[0]).toBe(Math.fround((2 ** 24 + 4096) / 4097));
  });
});

describe("a reducer by 'subsample'", () => {
  test.each([
    [6, 3, [1, 3, 5]],
    [7, 3, [1, 3, 5]],
    [5, 4, [0, 1, 3, 4]],
    [5, 1, [2]],
    [4, 4, [0, 1, 2, 3]],
    [2560, 2, [640, 1920]],
  ])('takes tokens at even distances: %i to %i', async (count, keep, taken) => {
    const reduced = await reduce(ramp(count), keep, 'subsample');
    expect(first(reduced.tokens)).toEqual(taken);
    expect([...reduced.sizes.data]).toEqual(taken.map(() => 1));
    expect([...reduced.positions!]).toEqual(taken);
  });
});

describe("a reducer by 'pick'", () => {
  const [count, channels, keep] = [61, 6, 9];
  const spread = Float32Array.from({ length: count * channels }, (_, at) => Math.sin(at * at) + (at % 3) / 4);
  const tokens = float32Tensor(spread, [count, channels]);
  const row = (token: number) => [...spread.subarray(token * channels, (token + 1) * channels)];
  const cosine = (a: readonly number[], b: readonly number[]) => {
    const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, value, at) => sum + value * y[at]!, 0);
    return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  };

  test('keeps of each group that merging makes the token that is most like its mean, in the order of the input', async () => {
    const { assignment } = await mergeTokens(tokens, { heads: 1, keep });
    const groups = Array.from({ length: keep }, (_, group) =>
      Array.from(assignment.keys()).filter((token) => assignment[token] === group),
    );
    const chosen = groups.map((members) => {
      const mean = Array.from({ length: channels }, (_, channel) =>
        members.reduce((sum, token) => sum + row(token)[channel]! / members.length, 0),
      );
      const scores = members.map((token) => cosine(row(token), mean));
      return { token: members[scores.indexOf(Math.max(...scores))]!, size: members.length };
    });
    chosen.sort((a, b) => a.token - b.token);
    const picked = await reduce(tokens, keep, 'pick');
    expect([...picked.positions!]).toEqual(chosen.map(({ token }) => token));
    expect([...picked.sizes.data]).toEqual(chosen.map(({ size }) => size));
    expect([...picked.tokens.data]).toEqual(chosen.flatMap(({ token }) => row(token)));
    expect(groups.some((members) => members.length > 2)).toBe(true);
  });

  test('keeps all tokens where none is to go, tokens of zeros among them', async () => {
    const all = float32Tensor(Float32Array.of(0, 0, 1, 2, 0, 0), [3, 2]);
    const picked = await reduce(all, 3, 'pick');
    expect([...picked.positions!]).toEqual([0, 1, 2]);
    expect([...picked.tokens.data]).toEqual([...all.data]);
    const fewer = await reduce(all, 2, 'pick');
    expect(fewer.positions).toHaveLength(2);
  });
});

test('tokens that are means have no positions', async () => {
  expect((await reduce(ramp(6), 3, 'pool')).positions).toBeUndefined();
  expect((await reduce(ramp(6), 3, 'merge')).positions).toBeUndefined();
});

test.each(['pool', 'subsample'] as const)('a reducer by %s tells where NaN is', async (how) => {
  const tokens = ramp(6);
  tokens.data[5] = Number.NaN;
  await expect(reduce(tokens, 2, how)).rejects.toMatchObject({
    code: 'ERR_LONGVLM_NOT_FINITE',
    message: expect.stringContaining('tokens holds NaN at [2, 1]'),
  });
});

test.each(['merge', 'pick', 'pool', 'subsample'])(
  '%s refuses to keep more tokens than there are, and only those that merge mind heads',
  (how) => {
    const segment = { frames: 2, patches: 3, grid: [1, 3] as const, channels: 4 };
    const make = (tokensPerSegment: number, mergeHeads: number) => makeReducer(how, { tokensPerSegment, mergeHeads });
    expect(() => make(6, 2).check(segment)).not.toThrow();
    expect(() => make(7, 2).check(segment)).toThrow(RangeError);
    const odd = () => make(6, 3).check(segment);
    if (how === 'merge' || how === 'pick')
      expect(odd).toThrow("Expected divisor of the vision tower's 4 channels for mergeHeads but received 3");
    else expect(odd).not.toThrow();
    expect(make(5, 2).id).not.toBe(make(6, 2).id);
  },
);
