import { beforeAll, describe, expect, test } from 'vitest';
import { type MergeTokensCase, mergeTokensCases } from '../../bench/cases.js';
import { type Float32Tensor, float32Tensor, halfToNumber, numberToHalf, type Tensor } from '../../dist/base/tensor.js';
import { type MergedTokens, mergeSchedule, mergeTokens, mergeTokensSync } from '../../dist/kernels/index.js';
import { expectGolden, goldenNames, loadGolden } from './golden.js';
import { instructionSets, useInstructionSet } from './instructionSets.js';
import { type ReferenceMerge, referenceMergeTokens } from './reference.js';
import { batchesOf, random, randomTensor, relativeError, toHalf, values } from './tensors.js';

/** Each segment by the plain implementation. */
const byReference = (tokens: Tensor, heads: number, schedule: readonly number[]) =>
  batchesOf(tokens).map((segment) => referenceMergeTokens(segment, heads, schedule));

/** Exact, but for the rounding of the output. */
function expectSame(merged: MergedTokens, expected: readonly ReferenceMerge[], tokens: Tensor): void {
  expect([...merged.assignment]).toEqual(expected.flatMap((segment) => segment.assignment));
  expect([...merged.sizes.data]).toEqual(expected.flatMap((segment) => segment.sizes));
  expect(merged.tokens.dims).toEqual([expected.length, expected[0]!.tokens.length, tokens.dims[2]]);
  expect(
    relativeError(
      values(merged.tokens),
      expected.flatMap((segment) => segment.tokens.flat()),
    ),
  ).toBeLessThan(tokens.type === 'float32' ? 1e-7 : 2 ** -11);
}

/** Merges, and checks the result against the plain implementation. */
async function expectReference(tokens: Tensor, heads: number, schedule: readonly number[]): Promise<void> {
  expectSame(await mergeTokens(tokens, { heads, schedule }), byReference(tokens, heads, schedule), tokens);
}

/** What is timed, and what the plain implementation makes of it in seconds: once for all instruction sets. */
const timed = new Map<MergeTokensCase, { tokens: Tensor; expected: readonly ReferenceMerge[] }>();

function timedCase(each: MergeTokensCase) {
  const known = timed.get(each);
  if (known) return known;
  const { type, tokens: count, channels, heads, keep } = each;
  const single = randomTensor(count, [1, count, channels]);
  const tokens = type === 'float32' ? single : toHalf(single);
  const made = { tokens, expected: byReference(tokens, heads, mergeSchedule(count, keep)) };
  timed.set(each, made);
  return made;
}

/** Tokens of the segment `index % distinct`: each repeated exactly, as a still picture's are. */
function repeated(distinct: number, tokens: number, channels: number): Float32Tensor {
  const pattern = randomTensor(distinct, [distinct, channels]).data;
  const data = new Float32Array(tokens * channels);
  for (let i = 0; i < tokens; i++)
    data.set(pattern.subarray((i % distinct) * channels, ((i % distinct) + 1) * channels), i * channels);
  return float32Tensor(data, [1, tokens, channels]);
}

describe.each(instructionSets)('mergeTokens() on %s', (instructionSet) => {
  beforeAll(() => useInstructionSet(instructionSet));

  test.each(goldenNames)('gives what the reference gives for %s', async (name) => {
    const golden = await loadGolden(name);
    const { heads, schedule } = golden;
    for (const merged of [
      await mergeTokens(golden.tokens, { heads, schedule }),
      mergeTokensSync(golden.tokens, { heads, schedule }),
    ]) {
      const { tokens, sizes, assignment } = merged;
      expectGolden(golden, { dims: tokens.dims, tokens: tokens.data, sizes: sizes.data, assignment });
      expect(sizes.dims).toEqual(tokens.dims.slice(0, 2));
    }
  });

  // Around the kernels' tiles: 8 or 16 rows of A, 4 or 6 of B, 4 channels at once.
  test.each([
    [1, 1, 8, 1, 1],
    [1, 2, 8, 2, 1],
    [3, 3, 16, 1, 2],
    [1, 9, 9, 1, 3],
    [2, 12, 30, 3, 5],
    [1, 13, 11, 1, 4],
    [4, 15, 33, 3, 2],
    [1, 16, 64, 4, 3],
    [1, 17, 10, 1, 1],
    [2, 31, 40, 5, 4],
    [1, 32, 96, 6, 7],
    [1, 33, 17, 1, 5],
    [5, 34, 26, 2, 6],
    [1, 65, 128, 16, 9],
    [2, 129, 36, 3, 30],
    [1, 257, 48, 4, 12],
    [1, 12, 640, 1, 5],
  ])('merges %i × %i tokens of %i channels in %i heads to %i', async (segments, count, channels, heads, keep) => {
    const tokens = randomTensor(count * 31 + channels, [segments, count, channels]);
    await expectReference(tokens, heads, mergeSchedule(count, keep));
  });

  test.each(mergeTokensCases.filter(({ segments, plain }) => segments > 1 || plain))(
    'merges what is timed: $name, $type',
    async (each) => {
      const { heads, keep } = each;
      const { tokens, expected } = timedCase(each);
      const schedule = mergeSchedule(each.tokens, keep);
      expectSame(await mergeTokens(tokens, { heads, schedule }), expected, tokens);
    },
  );

  test('follows any schedule, and merges at most half at a level', async () => {
    const tokens = randomTensor(5, [2, 45, 24]);
    for (const schedule of [
      [],
      [0],
      [3, 0, 5],
      [1, 1, 1, 1],
      [1000, 1000],
      [1000, 1000, 1000, 1000, 1000, 1000, 1000, 9],
    ])
      await expectReference(tokens, 2, schedule);
  });

  test('takes the lower index of equal tokens', async () => {
    // Two pictures over and over: most similarities are exactly equal, at every level.
    for (const [distinct, count] of [
      [1, 2],
      [1, 37],
      [2, 64],
      [3, 50],
      [5, 121],
      [16, 160],
    ] as const)
      await expectReference(repeated(distinct, count, 24), 3, mergeSchedule(count, Math.min(count, 4)));
  });

  test('merges a still picture without moving its tokens', async () => {
    const tokens = repeated(1, 100, 32);
    const merged = mergeTokensSync(tokens, { heads: 4, keep: 7 });
    for (let slot = 0; slot < 7; slot++)
      expect(merged.tokens.data.subarray(slot * 32, slot * 32 + 32)).toEqual(tokens.data.subarray(0, 32));
  });

  test('decides by sign alone where a head has one channel', async () => {
    await expectReference(randomTensor(3, [2, 60, 48]), 48, mergeSchedule(60, 5));
  });

  test('takes a zero token as similar to nothing', async () => {
    const tokens = randomTensor(11, [1, 40, 16]);
    for (const token of [0, 3, 4, 21, 22, 39]) tokens.data.fill(0, token * 16, token * 16 + 16);
    await expectReference(tokens, 2, mergeSchedule(40, 6));
    await expectReference(float32Tensor(new Float32Array(20 * 8), [1, 20, 8]), 1, [10, 3]);
  });

  test('keeps the order of magnitude of tiny and huge tokens', async () => {
    for (const scale of [1e-38, 3e-42, 1e37]) {
      const tokens = randomTensor(17, [1, 30, 16]);
      for (const [index, value] of tokens.data.entries()) tokens.data[index] = value * scale;
      const merged = mergeTokensSync(tokens, { heads: 2, schedule: [15, 7] });
      const [expected] = batchesOf(tokens).map((segment) => referenceMergeTokens(segment, 2, [15, 7]));
      expect([...merged.assignment]).toEqual(expected!.assignment);
      // Subnormal outputs are whole multiples of 2^-149.
      const error = Math.max(1e-7, 2 ** -149 / (scale * 1e-1));
      expect(relativeError(merged.tokens.data, expected!.tokens.flat())).toBeLessThan(error);
    }
  });

  test('gives for float16 what it gives for the same values in float32, rounded', async () => {
    const half = toHalf(randomTensor(23, [2, 101, 52]));
    const single = float32Tensor(Float32Array.from(half.data, halfToNumber), half.dims);
    const expected = await mergeTokens(single, { heads: 4, keep: 9 });
    const merged = await mergeTokens(half, { heads: 4, keep: 9 });
    expect(merged.tokens.type).toBe('float16');
    expect(merged.assignment).toEqual(expected.assignment);
    expect(merged.sizes).toEqual(expected.sizes);
    expect([...merged.tokens.data]).toEqual(Array.from(expected.tokens.data, numberToHalf));
  });

  test('reads a part of a larger buffer, at any alignment, and writes nowhere else', () => {
    const whole = randomTensor(29, [1, 50, 20]).data;
    const padded = new Float32Array(whole.length + 3).fill(Number.NaN);
    const shifted = padded.subarray(1, 1 + whole.length);
    shifted.set(whole);
    const options = { heads: 1, keep: 5 };
    const merged = mergeTokensSync(float32Tensor(shifted, [1, 50, 20]), options);
    expect(merged).toEqual(mergeTokensSync(float32Tensor(whole, [1, 50, 20]), options));
    expect(shifted).toEqual(whole);
    const shared = new Float32Array(new SharedArrayBuffer(whole.byteLength));
    shared.set(whole);
    expect(mergeTokensSync(float32Tensor(shared, [1, 50, 20]), options)).toEqual(merged);
  });

  test('says where NaN or infinity is, the first of them', async () => {
    const next = random(7);
    for (const [segments, heads] of [
      [1, 1],
      [2, 3],
      [3, 24],
      [8, 4],
    ] as const) {
      const tokens = randomTensor(segments, [segments, 200, 24]);
      const [segment, token, channel] = [segments, 200, 24].map((size) => Math.floor(next() * size));
      const at = (segment! * 200 + token!) * 24 + channel!;
      tokens.data[at] = Number.NaN;
      tokens.data[tokens.data.length - 1] = Number.NEGATIVE_INFINITY;
      await expect(mergeTokens(tokens, { heads, keep: 4 })).rejects.toMatchObject({
        name: 'LongVLMError',
        code: 'ERR_LONGVLM_NOT_FINITE',
        message: expect.stringContaining(`tokens holds NaN at segment ${segment}, token ${token}, channel ${channel}.`),
      });
      const half = toHalf(tokens);
      half.data[at] = 0xfc00;
      expect(() => mergeTokensSync(half, { heads, schedule: [0] })).toThrow(
        expect.objectContaining({
          code: 'ERR_LONGVLM_NOT_FINITE',
          message: expect.stringContaining(`infinity at segment ${segment}, token ${token}, channel ${channel}.`),
        }),
      );
    }
  });

  test('finds two infinities of opposite sign that cancel out', () => {
    const tokens = randomTensor(2, [1, 10, 8]);
    tokens.data[8] = Number.POSITIVE_INFINITY;
    tokens.data[12] = Number.NEGATIVE_INFINITY;
    expect(() => mergeTokensSync(tokens, { heads: 2, keep: 2 })).toThrow(/infinity at segment 0, token 1, channel 0/);
  });
});

describe('mergeTokens()', () => {
  const tokens = randomTensor(1, [2, 20, 12]);

  test('takes and gives two axes for a single segment', async () => {
    const flat = float32Tensor(tokens.data.subarray(0, 240), [20, 12]);
    const merged = await mergeTokens(flat, { heads: 3, keep: 4 });
    const batched = await mergeTokens(float32Tensor(flat.data, [1, 20, 12]), { heads: 3, keep: 4 });
    expect(merged.tokens).toEqual({ ...batched.tokens, dims: [4, 12] });
    expect(merged.sizes).toEqual({ ...batched.sizes, dims: [4] });
    expect(merged.assignment).toEqual(batched.assignment);
  });

  test('keep stands for mergeSchedule', async () => {
    const byKeep = await mergeTokens(tokens, { heads: 2, keep: 3, device: 'cpu' });
    const bySchedule = await mergeTokens(tokens, { heads: 2, schedule: mergeSchedule(20, 3), device: 'auto' });
    expect(byKeep).toEqual(bySchedule);
  });

  test('merges segments of their own accord', async () => {
    const one = await mergeTokens(float32Tensor(tokens.data.subarray(240), [1, 20, 12]), { heads: 2, keep: 3 });
    const both = await mergeTokens(tokens, { heads: 2, keep: 3 });
    expect(both.tokens.data.subarray(36)).toEqual(one.tokens.data);
    expect(both.assignment.subarray(20)).toEqual(one.assignment);
  });

  test.each<[string, unknown, unknown, string, RegExp]>([
    ['no tensor', undefined, { heads: 1, keep: 1 }, 'TypeError', /Expected Tensor for tokens but received undefined/],
    [
      'one axis',
      { ...tokens, dims: [480] },
      { heads: 1, keep: 1 },
      'RangeError',
      /Expected shape \[segments, tokens, channels\] for tokens but received \[480\]/,
    ],
    [
      'wrong dims',
      { ...tokens, dims: [2, 20, 13] },
      { heads: 1, keep: 1 },
      'RangeError',
      /Expected 520 values for tokens/,
    ],
    [
      'float64',
      { ...tokens, data: new Float64Array(480) },
      { heads: 1, keep: 1 },
      'TypeError',
      /Expected Float32Array for tokens.data/,
    ],
    [
      'no segments',
      float32Tensor(new Float32Array(0), [0, 20, 12]),
      { heads: 1, keep: 1 },
      'RangeError',
      /for tokens.dims but received \[0, 20, 12\]/,
    ],
    ['no options', tokens, undefined, 'TypeError', /Expected object for options but received undefined/],
    ['no heads', tokens, { keep: 1 }, 'TypeError', /Expected positive integer for heads but received undefined/],
    [
      'heads that do not divide',
      tokens,
      { heads: 5, keep: 1 },
      'RangeError',
      /Expected divisor of the 12 channels for heads but received 5/,
    ],
    [
      'neither keep nor schedule',
      tokens,
      { heads: 1 },
      'TypeError',
      /either keep or schedule in options but received neither/,
    ],
    ['keep and schedule', tokens, { heads: 1, keep: 1, schedule: [1] }, 'TypeError', /received both/],
    [
      'too large a keep',
      tokens,
      { heads: 1, keep: 21 },
      'RangeError',
      /a schedule that keeps more tokens than there are/,
    ],
    ['keep 0', tokens, { heads: 1, keep: 0 }, 'RangeError', /Expected positive integer for keep but received 0/],
    [
      'a schedule that is no array',
      tokens,
      { heads: 1, schedule: 3 },
      'TypeError',
      /Expected array of integers for schedule but received 3/,
    ],
    [
      'a negative level',
      tokens,
      { heads: 1, schedule: [4, -1] },
      'RangeError',
      /integer of at least 0 for schedule\[1\] but received -1/,
    ],
    [
      'an unknown device',
      tokens,
      { heads: 1, keep: 1, device: 'tpu' },
      'RangeError',
      /one of auto, cpu.* for device but received 'tpu'/,
    ],
    [
      'no signal',
      tokens,
      { heads: 1, keep: 1, signal: 1 },
      'TypeError',
      /Expected AbortSignal for signal but received 1/,
    ],
  ])('rejects %s', async (_, input, options, name, message) => {
    await expect(mergeTokens(input as Tensor, options as never)).rejects.toMatchObject({
      name,
      message: expect.stringMatching(message),
    });
    if (name === 'TypeError' && /signal/.test(message.source)) return;
    expect(() => mergeTokensSync(input as Tensor, options as never)).toThrow(
      expect.objectContaining({ name, message: expect.stringMatching(message) }),
    );
  });
});
