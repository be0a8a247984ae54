import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Float32Tensor, float32Tensor, halfToNumber, type Tensor } from '../../dist/base/tensor.js';
import { openSafetensors, readTensor } from '../../dist/files/safetensors.js';
import { fastVid, flashVid, type ReducedVideo, selectDiverse, vCast } from '../../dist/kernels/index.js';
import { instructionSets, useInstructionSet } from './instructionSets.js';
import { relativeError, toHalf, values } from './tensors.js';
import { bitsOf, madeAttention, madeVideo } from './videos.js';

const folder = fileURLToPath(new URL('../fixtures/reducers/', import.meta.url));

/** Runs the method that a file is of, with the file's options. */
async function runFixture(file: string): Promise<{ result: ReducedVideo; kept: Float32Tensor; indices: Int32Array }> {
  const { tensors, metadata } = await openSafetensors(folder + file);
  const read = async (name: string): Promise<Float32Tensor> => {
    const location = tensors.get(name)!;
    return float32Tensor((await readTensor(location)) as Float32Array, location.shape);
  };
  const tokens = await read('tokens');
  const retentionRatio = (await read('ratio')).data[0]!;
  const option = (name: string) => Number(metadata[name]);
  const run = async () => {
    if (file.startsWith('v_cast')) return await vCast(tokens, { retentionRatio, leftover: 'reference' });
    if (file.startsWith('flashvid')) {
      const attention = file.includes('attn') ? { attention: await read('attention') } : {};
      const minSegments = Math.min(4, tokens.dims[0]!);
      return await flashVid(tokens, { ...attention, retentionRatio, minSegments, referenceCounts: true });
    }
    return await fastVid(tokens, {
      attention: await read('attention'),
      retentionRatio,
      segments: option('c'),
      threshold: option('tau'),
      contextRatio: option('d'),
      anchorStep: option('p_'),
      beta: option('beta'),
    });
  };
  const indices = (await readTensor(tensors.get('indices')!)) as Int32Array;
  return { result: await run(), kept: await read('kept'), indices };
}

type Method = (tokens: Tensor, retentionRatio: number) => Promise<ReducedVideo>;

const shapeOf = ({ dims }: Tensor) => dims as unknown as [number, number, number];
const attentionFor = (tokens: Tensor) => madeAttention(5, [shapeOf(tokens)[0], shapeOf(tokens)[1]]);
const methods: Record<string, Method> = {
  vCast: (tokens, retentionRatio) => vCast(tokens, { retentionRatio }),
  fastVid: (tokens, retentionRatio) => fastVid(tokens, { attention: attentionFor(tokens), retentionRatio }),
  'flashVid div': (tokens, retentionRatio) => flashVid(tokens, { retentionRatio }),
  'flashVid attn_div': (tokens, retentionRatio) =>
    flashVid(tokens, { attention: attentionFor(tokens), retentionRatio, minSegments: 2 }),
};
const names = Object.keys(methods);

/** What holds for every method: ascending, unique, in range; what is not merged is the token itself. */
function expectSound(tokens: Tensor, { tokens: kept, indices, sizes, report }: ReducedVideo): void {
  const [frames, patches, channels] = shapeOf(tokens);
  expect(kept.dims).toEqual([indices.length, channels]);
  expect(sizes.dims).toEqual([indices.length]);
  for (const [i, index] of indices.entries()) {
    expect(index).toBeGreaterThan(i === 0 ? -1 : indices[i - 1]!);
    if (sizes.data[i] !== 1) continue;
    const row = tokens.data.subarray(index * channels, (index + 1) * channels);
    expect(kept.data.subarray(i * channels, (i + 1) * channels)).toEqual(row);
  }
  expect(indices.at(-1)).toBeLessThan(frames * patches);
  expect(report.tokens).toBe(indices.length);
  expect(report.picked + report.merged).toBe(indices.length);
  expect(report.tokensOfFrames.reduce((sum, count) => sum + count, 0)).toBe(indices.length);
  expect(report.changed).toBe(report.merged > 0 || report.dropped > 0);
}

describe.each(instructionSets)('on %s', (instructionSet) => {
  beforeAll(() => useInstructionSet(instructionSet));
  afterAll(() => useInstructionSet(instructionSets.at(-1)!));

  test.each(readdirSync(folder))("%s: what the authors' code keeps", async (file) => {
    const { result, kept, indices } = await runFixture(file);
    expect([...result.indices]).toEqual([...indices]);
    expect(relativeError(values(result.tokens), kept.data)).toBeLessThan(1e-5);
  });
});

describe.each(names)('%s', (name) => {
  const method = methods[name]!;
  afterAll(() => useInstructionSet(instructionSets.at(-1)!));

  test.each([
    [[1, 1, 1], 0.5],
    [[1, 40, 7], 0.3],
    [[5, 1, 12], 1],
    [[3, 26, 9], 1],
    [[7, 31, 33], 0.2],
    [[9, 50, 64], 0.11],
    [[12, 16, 5], 0.5],
    [[2, 131, 17], 0.9],
  ] as [[number, number, number], number][])('%j at %d: sound, and the same bits everywhere', async (shape, ratio) => {
    const video = madeVideo(shape[1], shape);
    for (const tokens of [video, toHalf(video)]) {
      useInstructionSet(instructionSets[0]!);
      const expected = await method(tokens, name === 'fastVid' ? Math.max(ratio, 1 / shape[1]) : ratio);
      expectSound(tokens, expected);
      for (const instructionSet of instructionSets.slice(1)) {
        useInstructionSet(instructionSet);
        const result = await method(tokens, name === 'fastVid' ? Math.max(ratio, 1 / shape[1]) : ratio);
        expect(bitsOf(result)).toEqual(bitsOf(expected));
      }
    }
  });

  test('says so when it did nothing', async () => {
    const tokens = madeVideo(1, [4, 10, 8]);
    const { indices, report } = await method(tokens, 1);
    expect([...indices]).toEqual(Array.from({ length: 40 }, (_, i) => i));
    expect(report).toMatchObject({ changed: false, tokens: 40, picked: 40, merged: 0, dropped: 0 });
    expect(report.text).toMatch(/ did nothing: all 40 tokens are as they were\.$/);
    expect((await method(tokens, 0.3)).report).toMatchObject({ changed: true });
  });

  test('takes zero tokens, and frames and patches that are all alike', async () => {
    for (const value of [0, 1, -3.5]) {
      const tokens = float32Tensor(new Float32Array(6 * 30 * 4).fill(value), [6, 30, 4]);
      const result = await method(tokens, 0.2);
      expectSound(tokens, result);
      expect(result.tokens.data.every((kept) => Object.is(kept, Math.fround(value)))).toBe(true);
    }
  });

  test('rejects NaN and infinity with their place', async () => {
    const tokens = madeVideo(2, [3, 20, 6]);
    for (const [bad, word] of [
      [Number.NaN, 'NaN'],
      [Number.NEGATIVE_INFINITY, 'infinity'],
    ] as const) {
      const data = tokens.data.slice();
      data[2 * 120 + 7 * 6 + 5] = bad;
      await expect(method(float32Tensor(data, tokens.dims), 0.25)).rejects.toMatchObject({
        code: 'ERR_LONGVLM_NOT_FINITE',
        message: expect.stringContaining(`tokens holds ${word} at frame 2, patch 7, channel 5`),
      });
    }
  });

  test('stops when it is told to', async () => {
    const tokens = madeVideo(3, [2, 8, 4]);
    const options = {
      attention: attentionFor(tokens),
      retentionRatio: 0.5,
      signal: AbortSignal.abort(new Error('no')),
    };
    const call = (name === 'vCast' ? vCast : name === 'fastVid' ? fastVid : flashVid) as typeof flashVid;
    await expect(call(tokens, options)).rejects.toThrow('no');
  });

  test('rejects wrong tokens and ratios', async () => {
    await expect(method(madeVideo(1, [2, 6, 4]), 0)).rejects.toMatchObject({ name: 'RangeError' });
    await expect(method(madeVideo(1, [2, 6, 4]), 1.5)).rejects.toThrow(/number between 0 and 1 for retentionRatio/);
    const flat = float32Tensor(new Float32Array(8), [2, 4]);
    await expect(method({ ...flat, dims: [0, 2, 4], data: new Float32Array(0) }, 0.5)).rejects.toThrow(/tokens\.dims/);
  });
});

test.each([null, 0, false, '', Number.NaN])(
  'an optional tensor that is %j is none, and is not left out',
  async (none) => {
    const tokens = madeVideo(1, [2, 6, 4]);
    const given = none as never;
    const wrong = (name: string) => ({
      name: 'TypeError',
      message: expect.stringContaining(`Expected Tensor for ${name}`),
    });
    const fast = { attention: attentionFor(tokens), retentionRatio: 0.5, frameFeatures: given };
    await expect(fastVid(tokens, fast)).rejects.toMatchObject(wrong('frameFeatures'));
    await expect(flashVid(tokens, { attention: given, retentionRatio: 0.5 })).rejects.toMatchObject(wrong('attention'));
    await expect(selectDiverse(tokens, 2, { weights: given })).rejects.toMatchObject(wrong('weights'));
  },
);

describe('vCast()', () => {
  const tokens = madeVideo(7, [8, 30, 16]);
  const countOf = async (options: Parameters<typeof vCast>[1]) => (await vCast(tokens, options)).report.tokensOfFrames;

  test('keeps as many tokens as it says, halves to even', async () => {
    for (const [shape, retentionRatio, expected] of [
      [[5, 9, 3], 0.1, 5],
      [[3, 7, 3], 0.5, 10],
      [[1, 5, 3], 0.5, 2],
      [[1, 7, 3], 0.5, 4],
      [[4, 25, 2], Math.fround(0.2), 20],
    ] as [[number, number, number], number, number][])
      expect((await vCast(madeVideo(1, shape), { retentionRatio })).indices).toHaveLength(expected);
  });

  test('gives every frame its least, and none more than its patches', async () => {
    const most = await countOf({ retentionRatio: 0.8, temperature: 0.02 });
    expect(Math.max(...most)).toBe(30);
    expect(Math.min(...most)).toBeGreaterThanOrEqual(1);
    expect(Math.min(...(await countOf({ retentionRatio: 0.5, minTokens: 9 })))).toBeGreaterThanOrEqual(9);
    expect(await countOf({ retentionRatio: 0.01, minTokens: 4 })).toEqual(new Array(8).fill(4));
  });

  test('shares evenly where nothing turns; what is left goes to the first frames, or all to one', async () => {
    const still = float32Tensor(
      Float32Array.from({ length: 6 * 20 * 3 }, (_, i) => Math.sin(i % 60)),
      [6, 20, 3],
    );
    const counts = async (retentionRatio: number, leftover?: 'reference') =>
      (await vCast(still, { retentionRatio, ...(leftover && { leftover }) })).report.tokensOfFrames;
    expect(await counts(0.5)).toEqual([10, 10, 10, 10, 10, 10]);
    expect(await counts(28 / 120)).toEqual([5, 5, 5, 5, 4, 4]);
    expect(await counts(28 / 120, 'reference')).toEqual([8, 4, 4, 4, 4, 4]);
  });
});

describe('fastVid()', () => {
  test('keeps the share of each segment: salient tokens of every frame, anchors of some', async () => {
    const tokens = madeVideo(3, [11, 40, 8]);
    const { report } = await fastVid(tokens, { attention: attentionFor(tokens), retentionRatio: 0.25, segments: 3 });
    // 10 tokens a frame: 4 anchors and 6 salient ones.
    const expected = report.segments!.flatMap((length) => {
      const anchorFrames = Math.ceil(length / 4);
      const each = Math.floor((4 * length) / anchorFrames);
      return Array.from({ length }, (_, i) => 6 + ((length - 1 - i) % 4 === 0 ? each : 0));
    });
    expect(report.tokensOfFrames).toEqual(expected);
    expect(report.segments!.reduce((sum, length) => sum + length, 0)).toBe(11);
    expect(report.segments!.length).toBeGreaterThanOrEqual(3);
    expect(report).toMatchObject({ dropped: 0 });
  });

  test('compares frames by the features that it is given', async () => {
    const tokens = madeVideo(4, [6, 12, 5]);
    const frameFeatures = float32Tensor(Float32Array.from([1, 0, 1, 0, 0, 1, 0, 1, 0, 1, 1, 0]), [6, 2]);
    const options = { attention: attentionFor(tokens), frameFeatures, retentionRatio: 0.5, segments: 1 };
    expect((await fastVid(tokens, options)).report.segments).toEqual([2, 3, 1]);
  });

  test('drops what it has no anchors for', async () => {
    const tokens = madeVideo(5, [3, 10, 4]);
    const { report } = await fastVid(tokens, { attention: attentionFor(tokens), retentionRatio: 0.2, contextRatio: 0 });
    expect(report).toMatchObject({ tokens: 6, picked: 6, merged: 0, dropped: 24, tokensOfFrames: [2, 2, 2] });
  });

  test('drops the tokens of frames that have no anchors near, and counts them', async () => {
    const tokens = madeVideo(5, [3, 10, 4]);
    const options = { retentionRatio: 0.2, contextRatio: 0.5, segments: 1, threshold: -1, anchorStep: 2 };
    const { report, owners } = await fastVid(tokens, { attention: attentionFor(tokens), ...options });
    // One anchor in the last frame and in the first, which take their own tokens alone: the other frame keeps its salient one.
    expect(report).toMatchObject({ tokensOfFrames: [2, 1, 2], dropped: 9 });
    const without = Array.from(owners!.keys()).filter((token) => owners![token] === -1);
    expect(without.map((token) => Math.floor(token / 10))).toEqual(Array(9).fill(1));
  });

  test('needs room for one token', async () => {
    const tokens = madeVideo(5, [3, 10, 4]);
    await expect(fastVid(tokens, { attention: attentionFor(tokens), retentionRatio: 0.05 })).rejects.toThrow(
      /retentionRatio of at least 0\.1, one of 10 patches, but received 0\.05/,
    );
  });
});

describe('flashVid()', () => {
  test('gives the mean of what merged over time, and the length that the reference makes of it', async () => {
    // Patch 0 grows longer over three frames; patch 1 turns around, so that it merges with nothing.
    const chain = float32Tensor(Float32Array.from([1, 0, 0, 1, 2, 0, 0, -1, 6, 0, 0, 1]), [3, 2, 2]);
    const options = { retentionRatio: 0.5, alpha: 0, minSegments: 1, segmentThreshold: -1 };
    const { tokens, indices, sizes, report } = await flashVid(chain, options);
    expect([...indices]).toEqual([0, 1, 3, 5]);
    expect([...tokens.data]).toEqual([3, 0, 0, 1, 0, -1, 0, 1]);
    expect([...sizes.data]).toEqual([3, 1, 1, 1]);
    expect(report.text).toBe(
      'flashVid kept 4 of 6 tokens, 3 as they were, 1 as means of several, in 1 segment, 2 merged over time, 0 in clusters.',
    );
    const reference = await flashVid(chain, { ...options, referenceCounts: true });
    expect([...reference.tokens.data]).toEqual([4.5, 0, 0, 1, 0, -1, 0, 1]);
  });

  test('every token given is in one that is kept', async () => {
    const tokens = madeVideo(11, [10, 30, 12]);
    for (const referenceCounts of [false, true]) {
      const { sizes, report } = await flashVid(tokens, { retentionRatio: 0.2, referenceCounts, clusterPicked: false });
      expect(sizes.data.reduce((sum, size) => sum + size, 0)).toBe(300);
      expect(report).toMatchObject({ dropped: 0, changed: true });
      // 6 a frame; each frame's clusters are rounded up.
      expect(report.tokens).toBeGreaterThanOrEqual(60);
      expect(report.tokens).toBeLessThanOrEqual(70);
    }
  });

  test('frames share the clusters of a segment where the budget is exact: one at least of each, and none is lost', async () => {
    for (const [frames, patches, share] of [
      [10, 30, 6],
      [7, 25, 4],
      [3, 40, 13],
    ] as const) {
      const tokens = madeVideo(frames, [frames, patches, 12]);
      const options = { retentionRatio: (share - 0.5) / patches, segmentThreshold: -1, minSegments: 1 };
      const rounded = await flashVid(tokens, { ...options, temporalThreshold: 1 });
      const exact = await flashVid(tokens, { ...options, temporalThreshold: 1, exactBudget: true });
      expect(exact.report.tokens).toBe(frames * share);
      expect(exact.sizes.data.reduce((sum, size) => sum + size, 0)).toBe(frames * patches);
      const picked = Math.ceil(share * 0.7);
      for (const [frame, kept] of exact.report.tokensOfFrames.entries()) {
        expect(kept).toBeGreaterThan(picked);
        // Every frame has as many tokens left, and so none rounds up.
        expect(kept).toBe(rounded.report.tokensOfFrames[frame]);
      }
      const continued = await flashVid(tokens, { ...options, temporalThreshold: 0.2, exactBudget: true });
      expect(continued.report.tokens).toBe(frames * share);
      expect(continued.report.tokensOfFrames.every((kept) => kept >= picked)).toBe(true);
      expect(continued.sizes.data.reduce((sum, size) => sum + size, 0)).toBe(frames * patches);
    }
    // Two tokens of the first frame, one of the others: 3 clusters, where shares that are rounded up are 4.
    const chain = float32Tensor(Float32Array.from([1, 0, 0, 1, 2, 0, 0, -1, 6, 0, 0, 1]), [3, 2, 2]);
    const options = { retentionRatio: 0.5, alpha: 0, minSegments: 1, segmentThreshold: -1, exactBudget: true };
    const { sizes, tokens } = await flashVid(chain, options);
    expect([...sizes.data]).toEqual([4, 1, 1]);
    expect([...tokens.data.slice(2)]).toEqual([0, -1, 0, 1]);
  });

  test('an index appears twice only where it is asked for', async () => {
    const tokens = madeVideo(13, [1, 40, 8]);
    const twice = ({ indices }: ReducedVideo) => indices.length - new Set(indices).size;
    expect(twice(await flashVid(tokens, { retentionRatio: 0.5 }))).toBe(0);
    const reference = await flashVid(tokens, { retentionRatio: 0.5, referenceCounts: true });
    expect(reference.indices).toHaveLength(20);
    expect(twice(reference)).toBeGreaterThan(0);
  });

  test('float16 is rounded once', async () => {
    const tokens = toHalf(madeVideo(14, [4, 20, 8]));
    const exact = await flashVid(float32Tensor(Float32Array.from(tokens.data, halfToNumber), tokens.dims), {
      retentionRatio: 0.2,
    });
    const half = await flashVid(tokens, { retentionRatio: 0.2 });
    expect(half.indices).toEqual(exact.indices);
    expect(half.tokens.data).toEqual(toHalf(exact.tokens as Float32Tensor).data);
  });
});
