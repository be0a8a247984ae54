// What holds for every reducer of a video's tokens, at the edges of what there is to reduce.
import { beforeAll, describe, expect, test } from 'vitest';
import { float32Tensor, type Tensor } from '../../dist/base/tensor.js';
import {
  aim,
  evs,
  fastVid,
  flashVid,
  type ReducedVideo,
  random,
  uniform,
  vCast,
  vidCom2,
} from '../../dist/kernels/index.js';
import { runNode } from './childProcess.js';
import { madeAttention, madeVideo } from './videos.js';

type Shape = [frames: number, patches: number, channels: number];
type Method = (tokens: Tensor, retentionRatio: number) => Promise<ReducedVideo>;

const attentionFor = ({ dims }: Tensor) => madeAttention(5, [dims[0]!, dims[1]!]);
// None.
const signal = null;
const methods: Record<string, Method> = {
  vCast: (tokens, retentionRatio) => vCast(tokens, { retentionRatio, signal }),
  fastVid: (tokens, retentionRatio) => fastVid(tokens, { attention: attentionFor(tokens), retentionRatio, signal }),
  flashVid: (tokens, retentionRatio) => flashVid(tokens, { retentionRatio, signal }),
  evs: (tokens, retentionRatio) => evs(tokens, { retentionRatio, signal }),
  vidCom2: (tokens, retentionRatio) => vidCom2(tokens, { retentionRatio, signal }),
  aim: (tokens, retentionRatio) => aim(tokens, { steps: retentionRatio === 1 ? 0 : 2, signal }),
  uniform: (tokens, retentionRatio) => uniform(tokens, { retentionRatio, signal }),
  random: (tokens, retentionRatio) => random(tokens, { retentionRatio, signal }),
};
const names = Object.keys(methods);

/** The same token everywhere. */
const still = (shape: Shape, value: (channel: number) => number): Tensor =>
  float32Tensor(
    Float32Array.from({ length: shape[0] * shape[1] * shape[2] }, (_, i) => value(i % shape[2])),
    shape,
  );

function expectSound({ tokens, indices, sizes, report }: ReducedVideo, [frames, patches, channels]: Shape): void {
  expect(indices).toBeInstanceOf(Int32Array);
  expect(tokens.dims).toEqual([indices.length, channels]);
  expect(sizes.data).toHaveLength(indices.length);
  expect([...new Set(indices)].sort((a, b) => a - b)).toEqual([...indices]);
  expect(indices[0]).toBeGreaterThanOrEqual(0);
  expect(indices.at(-1)).toBeLessThan(frames * patches);
  expect(report.tokens).toBe(indices.length);
  expect(tokens.data.every(Number.isFinite)).toBe(true);
}

describe.each(names)('%s()', (name) => {
  const method = methods[name]!;

  test.each([
    [[1, 1, 6], 1],
    [[1, 20, 6], 0.25],
    [[7, 1, 6], 1],
    [[2, 3, 1], 0.5],
  ] as [Shape, number][])('takes %j at %d', async (shape, ratio) => {
    expectSound(await method(madeVideo(3, shape), ratio), shape);
  });

  test('keeps what is there where all of it is kept, and says that it did nothing', async () => {
    // VidCom2 takes from frames that are like the video also where others have nothing left to gain.
    const tokens = madeVideo(4, name === 'vidCom2' ? [1, 60, 7] : [5, 12, 7]);
    const { tokens: kept, indices, sizes, report } = await method(tokens, 1);
    expect(kept.data).toEqual(tokens.data);
    expect([...indices]).toEqual(Array.from({ length: 60 }, (_, i) => i));
    expect(sizes.data.every((size) => size === 1)).toBe(true);
    expect(report).toMatchObject({ changed: false, picked: 60, merged: 0, dropped: 0 });
    expect(report.text).toContain('did nothing');
  });

  test.each([
    ['zero tokens', () => 0],
    ['tokens that are all alike', (channel: number) => channel - 1.25],
  ] as [string, (channel: number) => number][])('takes %s', async (_, value) => {
    const shape: Shape = [6, 20, 5];
    const result = await method(still(shape, value), 0.25);
    expectSound(result, shape);
    expect([...result.tokens.data]).toEqual(Array.from(result.tokens.data, (_value, i) => value(i % 5)));
    expect(result.report.changed).toBe(true);
  });

  test('takes frames that are all the same', async () => {
    const shape: Shape = [5, 16, 8];
    const { data } = madeVideo(9, [1, 16, 8]);
    const tokens = float32Tensor(
      Float32Array.from({ length: 5 * data.length }, (_, i) => data[i % data.length]!),
      shape,
    );
    expectSound(await method(tokens, 0.5), shape);
  });
});

test('of equal tokens the first are kept', async () => {
  const tokens = still([4, 10, 3], (channel) => channel + 1);
  const firstOfEach = (count: number) =>
    Array.from({ length: 4 }, (_, frame) => Array.from({ length: count }, (__, i) => 10 * frame + i)).flat();
  expect([...(await evs(tokens, { retentionRatio: 0.5 })).indices]).toEqual(Array.from({ length: 20 }, (_, i) => i));
  expect([...(await vCast(tokens, { retentionRatio: 0.3 })).indices]).toEqual(firstOfEach(3));
  expect([...(await vidCom2(tokens, { retentionRatio: 0.3 })).indices]).toEqual(firstOfEach(3));
});

describe('with any number of threads', () => {
  const hashes = async (threads: number): Promise<Record<string, string>> => {
    const child = await runNode(['test/kernels/runReducers.mjs'], { LONGVLM_NUM_THREADS: String(threads) });
    expect(child.stderr).toBe('');
    return JSON.parse(child.stdout);
  };
  let alone: Record<string, string>;
  beforeAll(async () => {
    alone = await hashes(1);
  });

  test.each([2, 3, 7])('%i threads give the same bits as one', async (threads) => {
    expect(Object.keys(alone)).toHaveLength(18);
    expect(await hashes(threads)).toEqual(alone);
  });
});
