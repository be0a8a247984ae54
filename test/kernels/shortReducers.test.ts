// EVS, VidCom2, AIM, uniform and random against plain loops in float64, and by hand.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { float32Tensor, type Tensor } from '../../dist/base/tensor.js';
import { aim, evs, type ReducedVideo, random, uniform, vidCom2 } from '../../dist/kernels/index.js';
import { instructionSets, useInstructionSet } from './instructionSets.js';
import { referenceMatch } from './reference.js';
import { batchesOf, relativeError, toHalf } from './tensors.js';
import { bitsOf, madeVideo } from './videos.js';

type Options = { readonly retentionRatio: number; readonly signal?: AbortSignal };
const methods: readonly ((tokens: Tensor, options: Options) => Promise<ReducedVideo>)[] = [
  evs,
  vidCom2,
  aim,
  uniform,
  random,
];

const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
const meanOf = (rows: readonly (readonly number[])[]) =>
  rows[0]!.map((_, c) => rows.reduce((sum, row) => sum + row[c]!, 0) / rows.length);

/** EVS as it is written down: the first frame, and the others' largest changes. */
function plainEvs(tokens: Tensor, retentionRatio: number): number[] {
  const frames = batchesOf(tokens);
  const patches = frames[0]!.length;
  const changes = frames.slice(1).flatMap((frame, t) =>
    frame.map((row, i) => {
      const before = frames[t]![i]!;
      const length = Math.sqrt(dot(row, row) * dot(before, before));
      return { token: (t + 1) * patches + i, change: 1 - (length > 0 ? dot(row, before) / length : 0) };
    }),
  );
  const count = Math.max(patches, Math.floor(frames.length * patches * retentionRatio + 1e-9));
  changes.sort((a, b) => b.change - a.change || a.token - b.token);
  const kept = [...frames[0]!.keys(), ...changes.slice(0, count - patches).map(({ token }) => token)];
  return kept.sort((a, b) => a - b);
}

/** VidCom2 as it is written down. */
function plainVidCom2(tokens: Tensor, retentionRatio: number): number[] {
  const frames = batchesOf(tokens);
  const patches = frames[0]!.length;
  const all = frames.flat();
  const mean = meanOf(all);
  const variance = mean.map((m, c) => all.reduce((sum, row) => sum + (row[c]! - m) ** 2, 0) / all.length);
  const quiet = variance.map((_, c) => c).sort((a, b) => variance[a]! - variance[b]! || a - b);
  const channels = quiet.slice(0, Math.floor(quiet.length / 2));
  const units = frames.map((frame) =>
    frame.map((row) => {
      const chosen = channels.map((c) => row[c]!);
      const length = Math.sqrt(dot(chosen, chosen));
      return chosen.map((value) => (length > 0 ? value / length : 0));
    }),
  );
  const likeness = (row: readonly number[], centre: readonly number[]) => {
    const square = row.reduce((sum, value, c) => sum + (value - centre[c]!) ** 2, 0);
    return [0.125, 0.25, 0.5, 1, 2].reduce((sum, alpha) => sum + Math.exp(-square / (2 * alpha)), 0);
  };
  const centre = meanOf(units.flat());
  const video = units.map((frame) => frame.map((row) => likeness(row, centre)));
  const own = units.map((frame) => frame.map((row) => likeness(row, meanOf(frame))));
  const unlike = video.map((scores) => -scores.reduce((sum, score) => sum + score, 0) / patches);
  const powers = unlike.map((value) => Math.exp((value - Math.max(...unlike)) / 0.01));
  const sum = powers.reduce((total, power) => total + power, 0);
  return units.flatMap((frame, t) => {
    const scale = Math.min(1, retentionRatio * (1 + powers[t]! / sum - 1 / units.length));
    const score = (i: number) => video[t]![i]! + own[t]![i]!;
    const order = [...frame.keys()].sort((a, b) => score(a) - score(b) || a - b);
    const kept = order.slice(0, Math.max(1, Math.round(scale * patches)));
    return kept.sort((a, b) => a - b).map((i) => t * patches + i);
  });
}

/** AIM as it is written down: steps of bipartite matching in each frame, plain means; the last step down to `least`. */
function plainAim(tokens: Tensor, steps: number, least = 1) {
  const frames = batchesOf(tokens);
  const patches = frames[0]!.length;
  return frames.flatMap((frame, t) => {
    let left = frame.map((row, place) => ({ row: [...row], place, own: [place] }));
    for (let step = 0; step < steps; step++) {
      const r = Math.min(Math.floor(left.length / 2), left.length - least);
      if (r <= 0) break;
      const { order, partner } = referenceMatch(
        left.map(({ row }) => row),
        1,
      );
      const next = left.map((token) => [token]);
      for (const a of order.slice(0, r)) next[2 * partner[a]! + 1]!.push(left[2 * a]!);
      const stays = [...order.slice(r).map((a) => 2 * a), ...[...left.keys()].filter((i) => i % 2 === 1)];
      left = stays.map((i) => ({
        row: meanOf(next[i]!.map(({ row }) => row)).map(Math.fround),
        place: left[i]!.place,
        own: next[i]!.flatMap(({ own }) => own),
      }));
    }
    left.sort((a, b) => a.place - b.place);
    return left.map(({ row, place, own }) => ({
      row,
      place: t * patches + place,
      own: own.map((i) => t * patches + i),
    }));
  });
}

describe.each(instructionSets)('on %s', (instructionSet) => {
  beforeAll(() => useInstructionSet(instructionSet));
  afterAll(() => useInstructionSet(instructionSets.at(-1)!));

  test.each([
    [[5, 12, 8], 0.4],
    [[3, 7, 33], 0.5],
    [[1, 9, 4], 0.2],
    [[6, 1, 5], 0.5],
    [[4, 20, 6], 1],
  ] as [[number, number, number], number][])('evs() and vidCom2(): %j at %d', async (shape, ratio) => {
    const tokens = madeVideo(shape[1], shape);
    for (const [result, expected] of [
      [await evs(tokens, { retentionRatio: ratio }), plainEvs(tokens, ratio)],
      [await vidCom2(tokens, { retentionRatio: ratio }), plainVidCom2(tokens, ratio)],
    ] as [ReducedVideo, number[]][]) {
      expect([...result.indices]).toEqual(expected);
      const rows = batchesOf(tokens).flat();
      expect([...result.tokens.data]).toEqual(expected.flatMap((token) => rows[token]!));
      expect(result.report).toMatchObject({ merged: 0, dropped: shape[0] * shape[1] - expected.length });
      expect(result.report.changed).toBe(expected.length < shape[0] * shape[1]);
    }
  });

  test.each([
    [[3, 20, 8], 2],
    [[2, 13, 5], 2],
    [[1, 40, 16], 3],
    [[4, 1, 3], 2],
    [[3, 20, 8], 9, 7],
    [[2, 13, 5], 9, 12],
    [[2, 6, 5], 9, 8],
    [[2, 40, 5], 1, 8],
  ] as [[number, number, number], number, number?][])('aim(): %j in %i steps to %s', async (shape, steps, least) => {
    const tokens = madeVideo(shape[1], shape);
    const result = await aim(tokens, { steps, ...(least !== undefined && { tokensPerFrame: least }) });
    const expected = plainAim(tokens, steps, least);
    expect([...result.indices]).toEqual(expected.map(({ place }) => place));
    expect([...result.sizes.data]).toEqual(expected.map(({ own }) => own.length));
    for (const [token, { own }] of expected.entries()) for (const i of own) expect(result.owners![i]).toBe(token);
    expect(
      relativeError(
        result.tokens.data,
        expected.flatMap(({ row }) => row),
      ),
    ).toBeLessThan(1e-6);
    expect(result.report.changed).toBe(shape[1] > (least ?? 1));
  });
});

test('the same bits on every instruction set, also of float16', async () => {
  const tokens = toHalf(madeVideo(8, [4, 33, 21]));
  for (const method of methods) {
    const results = [];
    for (const instructionSet of instructionSets) {
      useInstructionSet(instructionSet);
      results.push(bitsOf(await method(tokens, { retentionRatio: 0.3 })));
    }
    for (const result of results) expect(result).toEqual(results[0]);
  }
});

test('evs() keeps what changed, by hand', async () => {
  // Two places; the second changes in frame 2, the first in frame 3, and a zero token counts as a change.
  const tokens = float32Tensor(Float32Array.from([1, 0, 0, 1, 2, 0, 1, 1, 0, 2, 3, 3, 0, 0, 1, 1]), [4, 2, 2]);
  expect([...(await evs(tokens, { retentionRatio: 0.5 })).indices]).toEqual([0, 1, 4, 6]);
  expect([...(await evs(tokens, { retentionRatio: 0.01 })).indices]).toEqual([0, 1]);
  expect([...(await evs(tokens, { retentionRatio: 5 / 8 })).indices]).toEqual([0, 1, 3, 4, 6]);
});

test('vidCom2() shares out a number of tokens exactly, by hand', async () => {
  // Only the second frame differs in the channels that vary least, and so it has a share of 5 ninths, others of 2.
  const row = (frame: number, place: number) => [
    ...(frame === 1 ? [0, 1] : [1, 0]),
    10 * (place % 2),
    -9 * (place % 3),
  ];
  const frames = [0, 1, 2].map((frame) => [0, 1, 2, 3].map((place) => row(frame, place)));
  const tokens = float32Tensor(Float32Array.from(frames.flat(2)), [3, 4, 4]);
  const kept = async (count: number) => (await vidCom2(tokens, { tokens: count })).report.tokensOfFrames;
  expect(await kept(9)).toEqual([3, 4, 2]);
  expect(await kept(5)).toEqual([1, 3, 1]);
  expect(await kept(3)).toEqual([1, 1, 1]);
  expect(await kept(12)).toEqual([4, 4, 4]);
  await expect(kept(2)).rejects.toThrow(/integer between 3 and 12 for tokens but received 2/);
  await expect(vidCom2(tokens, { tokens: 5, retentionRatio: 0.5 })).rejects.toThrow(/nothing, as tokens is given/);
});

test('uniform() picks at even distances', async () => {
  const pick = async (shape: [number, number, number], retentionRatio: number) => [
    ...(await uniform(madeVideo(1, shape), { retentionRatio })).indices,
  ];
  expect(await pick([2, 6, 3], 0.25)).toEqual([2, 6, 10]);
  expect(await pick([1, 5, 1], 0.4)).toEqual([1, 3]);
  expect(await pick([3, 4, 2], 1)).toEqual(Array.from({ length: 12 }, (_, i) => i));
  expect(await pick([3, 4, 2], 0.001)).toEqual([6]);
});

test('random() picks by its seed, every token as often as another', async () => {
  const tokens = madeVideo(1, [3, 4, 2]);
  const pick = async (seed?: number) => [
    ...(await random(tokens, { retentionRatio: 0.25, ...(seed !== undefined && { seed }) })).indices,
  ];
  expect(await pick()).toEqual(await pick(0));
  const times = new Array<number>(12).fill(0);
  for (let seed = 0; seed < 400; seed++) {
    const indices = await pick(seed);
    expect(new Set(indices).size).toBe(3);
    expect(indices).toEqual([...indices].sort((a, b) => a - b));
    for (const index of indices) times[index]!++;
  }
  // 100 each, and about 9 more or less.
  for (const count of times) expect(Math.abs(count - 100)).toBeLessThan(45);
  await expect(pick(-1)).rejects.toThrow(/integer between 0 and 4294967295 for seed but received -1/);
});

test('rejects NaN in what is kept', async () => {
  const bad = float32Tensor(new Float32Array(12).fill(Number.NaN), [2, 3, 2]);
  for (const method of methods)
    await expect(method(bad, { retentionRatio: 0.5 })).rejects.toMatchObject({ code: 'ERR_LONGVLM_NOT_FINITE' });
});
