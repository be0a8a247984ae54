// The kernels against the definition, decision for decision, on inputs made to be hard: every instruction set has to give
// exactly what is defined, on any shape.
import { beforeAll, describe, expect, test } from 'vitest';
import { type Float32Tensor, float32Tensor, halfToNumber, numberToHalf } from '../../dist/base/tensor.js';
import { bipartiteSoftMatching, mergeSchedule, mergeTokensSync } from '../../dist/kernels/index.js';
import { definedAssignment, fusedMultiplyAdd } from './definition.js';
import { instructionSets, useInstructionSet } from './instructionSets.js';
import { random } from './tensors.js';

type Make = (next: () => number, tokens: number, channels: number) => Float32Array;

const gaussian = (next: () => number) => next() + next() + next() - 1.5;

/** What is added to a value to move it by some units in its last place. */
const ulps = (value: number, count: number) => value + Math.sign(count) * Math.abs(value) * 2 ** -23 * Math.abs(count);

const inputs: Record<string, Make> = {
  random: (next, tokens, channels) => Float32Array.from({ length: tokens * channels }, () => gaussian(next)),

  // Frames of a still scene with noise of a camera and something that moves.
  'video-like': (next, tokens, channels) => {
    const patches = Math.max(1, Math.floor(tokens / 10));
    const scene = Float32Array.from({ length: patches * channels }, () => gaussian(next));
    return Float32Array.from({ length: tokens * channels }, (_, i) => {
      const token = Math.floor(i / channels);
      const frame = Math.floor(token / patches);
      const moved = (token + (token % 7 === 0 ? frame : 0)) % patches;
      return scene[moved * channels + (i % channels)]! + 0.01 * gaussian(next);
    });
  },

  constant: (next, tokens, channels) => {
    const token = Array.from({ length: channels }, () => gaussian(next));
    return Float32Array.from({ length: tokens * channels }, (_, i) => token[i % channels]!);
  },

  'frames that repeat': (next, tokens, channels) => {
    const frame = Math.max(1, Math.floor(tokens / 4)) * channels;
    const values = Float32Array.from({ length: frame }, () => gaussian(next));
    return Float32Array.from({ length: tokens * channels }, (_, i) => values[i % frame]!);
  },

  // Copies of few tokens that differ by some units in the last place: similarities differ by as little.
  'near ties': (next, tokens, channels) => {
    const distinct = Array.from({ length: 3 * channels }, () => gaussian(next));
    return Float32Array.from({ length: tokens * channels }, (_, i) => {
      const token = Math.floor(i / channels) % 3;
      return ulps(distinct[token * channels + (i % channels)]!, Math.floor(next() * 5) - 2);
    });
  },

  // Few different values: many tokens that differ have the same similarity to the last bit.
  'small integers': (next, tokens, channels) =>
    Float32Array.from({ length: tokens * channels }, () => Math.floor(next() * 3) - 1),

  'some zeros': (next, tokens, channels) =>
    Float32Array.from({ length: tokens * channels }, (_, i) =>
      Math.floor(i / channels) % 3 === 1 ? (i % 2 ? 0 : -0) : gaussian(next),
    ),

  // Every token is nearest to tokens in the opposite direction of all others.
  'all negative': (next, tokens, channels) =>
    Float32Array.from(
      { length: tokens * channels },
      (_, i) => (Math.floor(i / channels) % 2 ? -1 : 1) * (1 + 0.1 * next()),
    ),

  'magnitudes far apart': (next, tokens, channels) =>
    Float32Array.from({ length: tokens * channels }, () => gaussian(next) * 2 ** Math.floor(next() * 40 - 20)),
};

/** Tokens, channels, heads, keep. */
const shapes = [
  [1, 8, 2, 1],
  [2, 6, 1, 1],
  [3, 5, 5, 2],
  [7, 12, 3, 2],
  [16, 64, 1, 3],
  [31, 33, 3, 1],
  [64, 40, 5, 7],
  [97, 128, 2, 30],
  [130, 1, 1, 9],
  [193, 36, 2, 10],
  [385, 24, 1, 12],
] as const;

describe('fusedMultiplyAdd() of the definition', () => {
  test('rounds once', () => {
    // 1 + 2^-24 lies halfway between two float32, and so does what is 2^-23 further: ties go to the even one.
    expect(fusedMultiplyAdd(2 ** -12, 2 ** -12, 1)).toBe(1);
    expect(fusedMultiplyAdd(2 ** -12, 2 ** -12, 1 + 2 ** -23)).toBe(1 + 2 ** -22);
    // A product of 2^-24 - 2^-70: the sum is below halfway, which float64 does not hold.
    expect(fusedMultiplyAdd(2 ** -12 * (1 + 2 ** -23), 2 ** -12 * (1 - 2 ** -23), 1 + 2 ** -23)).toBe(1 + 2 ** -23);
    expect(fusedMultiplyAdd(-(2 ** -12) * (1 + 2 ** -23), 2 ** -12 * (1 - 2 ** -23), -1 - 2 ** -23)).toBe(
      -1 - 2 ** -23,
    );
  });
});

describe.each(instructionSets)('the kernels on %s decide as defined', (instructionSet) => {
  beforeAll(() => useInstructionSet(instructionSet));

  describe.each(Object.keys(inputs))('on %s', (name) => {
    test.each(shapes)('%i tokens of %i channels, %i heads, to %i', (tokens, channels, heads, keep) => {
      const next = random(tokens * 1009 + channels);
      const schedule = mergeSchedule(tokens, keep);
      const segments = [1, 2].map(() => inputs[name]!(next, tokens, channels));
      const data = new Float32Array(segments.flatMap((segment) => [...segment]));
      const merged = mergeTokensSync(float32Tensor(data, [2, tokens, channels]), { heads, schedule });
      const expected = segments.flatMap((segment) => [...definedAssignment(segment, { tokens, heads, schedule })]);
      expect([...merged.assignment]).toEqual(expected);

      const half = {
        type: 'float16',
        data: Uint16Array.from(data, numberToHalf),
        dims: [2, tokens, channels],
      } as const;
      const rounded = segments.map((segment) => segment.map((value) => halfToNumber(numberToHalf(value))));
      if (name === 'magnitudes far apart') return; // beyond what float16 holds
      expect([...mergeTokensSync(half, { heads, schedule }).assignment]).toEqual(
        rounded.flatMap((segment) => [...definedAssignment(segment, { tokens, heads, schedule })]),
      );
    });
  });

  test.each([1, 2, 3, 8])('with %i protected tokens', (protect) => {
    for (const [name, tokens] of [
      ['random', 40],
      ['near ties', 41],
      ['frames that repeat', 64],
      ['random', protect],
      ['random', protect + 1],
      ['random', protect + 2],
    ] as const) {
      const data = inputs[name]!(random(protect), tokens, 12);
      const sizes = Float32Array.from({ length: tokens }, (_, i) => 1 + (i % 4) / 2);
      const schedule = [tokens, 3, 2];
      const tensor = float32Tensor(data, [tokens, 12]);
      const options = { heads: 2, schedule, protect };
      expect([...mergeTokensSync(tensor, options).assignment]).toEqual([
        ...definedAssignment(data, { tokens, heads: 2, schedule, protect }),
      ]);
      expect([...mergeTokensSync(tensor, { ...options, sizes: float32Tensor(sizes, [tokens]) }).assignment]).toEqual([
        ...definedAssignment(data, { tokens, heads: 2, schedule, protect, sizes }),
      ]);
    }
  });

  // Beyond one round of screening (256 panels of B), and more rows of A than one panel.
  test.each([
    ['random', 6000, 4],
    ['near ties', 3100, 6],
    ['video-like', 5760, 8],
    ['small integers', 2561, 3],
    ['constant', 6000, 2],
  ])('on %s, %i tokens of %i values in one step', async (name, tokens, dims) => {
    const data = inputs[name]!(random(tokens), tokens, dims);
    const metric: Float32Tensor = float32Tensor(data, [1, tokens, dims]);
    const r = Math.floor(tokens / 3);
    const matching = await bipartiteSoftMatching(metric, r);
    expect(matching.assignment).toEqual(definedAssignment(data, { tokens, heads: 1, schedule: [r] }));
  });
});
