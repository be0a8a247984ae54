// The reducers and their parts on a GPU, or its emulation, give what they give on the host.
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { float32Tensor, type Tensor } from '../../dist/base/tensor.js';
import { openSafetensors, readTensor } from '../../dist/files/safetensors.js';
import {
  aim,
  assignToAnchors,
  DeviceBuffer,
  densityPeaks,
  evs,
  type FastVidOptions,
  fastVid,
  flashVid,
  type HostTensor,
  type ReducedDeviceVideo,
  type ReducedVideo,
  random,
  segmentFrames,
  selectDiverse,
  selectTopK,
  temporalSimilarity,
  uniform,
  vCast,
  vidCom2,
} from '../../dist/kernels/index.js';
import { repository } from '../kernels/childProcess.js';
import { toHalf } from '../kernels/tensors.js';
import { bitsOf, madeAttention, madeVideo } from '../kernels/videos.js';
import { useCudaLibrary } from './cudaLibrary.js';

const buffers: DeviceBuffer[] = [];
const keep = (buffer: DeviceBuffer) => {
  buffers.push(buffer);
  return buffer;
};
const upload = async (tensor: HostTensor) => keep(await DeviceBuffer.upload(tensor));
const data = async (buffer: DeviceBuffer) => [...(await keep(buffer).download()).data];

beforeAll(useCudaLibrary);
afterEach(() => {
  for (const buffer of buffers.splice(0)) buffer.dispose();
});

type Method = {
  (tokens: Tensor): Promise<ReducedVideo>;
  (tokens: DeviceBuffer): Promise<ReducedDeviceVideo>;
};
const method = <Options>(
  reduce: {
    (tokens: Tensor, options: Options): Promise<ReducedVideo>;
    (tokens: DeviceBuffer, options: Options): Promise<ReducedDeviceVideo>;
  },
  options: Options,
) => ((tokens: never) => reduce(tokens, options)) as Method;

/** With the same made attention for the same shape. */
const fastVidWith = (options: Omit<FastVidOptions, 'attention'>) =>
  ((tokens: Tensor | DeviceBuffer) => {
    const [frames, patches] = tokens.dims as [number, number];
    return fastVid(tokens as Tensor, { ...options, attention: madeAttention(6, [frames, patches]) });
  }) as Method;

const methods: Record<string, Method> = {
  vCast: method(vCast, { retentionRatio: 0.25 }),
  'vCast as the reference': method(vCast, { retentionRatio: 0.4, leftover: 'reference', temperature: 0.05 }),
  evs: method(evs, { retentionRatio: 0.3 }),
  fastVid: fastVidWith({ retentionRatio: 0.3 }),
  'fastVid in few segments': fastVidWith({ retentionRatio: 0.5, segments: 1, threshold: -1, anchorStep: 2 }),
  'fastVid with frames that have no anchors': fastVidWith({
    ...{ retentionRatio: 0.15, contextRatio: 0.5, segments: 1, threshold: -1, anchorStep: 2 },
  }),
  'fastVid without anchors': fastVidWith({ retentionRatio: 1 }),
  flashVid: method(flashVid, { retentionRatio: 0.3, minSegments: 2 }),
  'flashVid to an exact budget': method(flashVid, {
    retentionRatio: 0.5,
    alpha: 0.3,
    exactBudget: true,
    clusterPicked: true,
  }),
  'flashVid that only picks': method(flashVid, { retentionRatio: 0.3, alpha: 1 }),
  'flashVid with attention': ((tokens: Tensor | DeviceBuffer) =>
    flashVid(tokens as Tensor, {
      retentionRatio: 0.4,
      attention: madeAttention(7, tokens.dims as [number, number]),
    })) as Method,
  vidCom2: method(vidCom2, { retentionRatio: 0.3 }),
  aim: method(aim, {}),
  'aim to a number': method(aim, { tokensPerFrame: 5 }),
  uniform: method(uniform, { retentionRatio: 0.2 }),
  random: method(random, { retentionRatio: 0.2, seed: 7 }),
};
const shapes = [
  [5, 26, 33],
  [1, 9, 8],
  [7, 16, 64],
] as [number, number, number][];

describe.each(Object.entries(methods))('%s', (_, reduce) => {
  test.each(shapes)('[%d, %d, %d]: the bits of the host', async (...shape) => {
    const video = madeVideo(shape[1], shape);
    for (const tokens of [video, toHalf(video)]) {
      // Where each token went is told on the host alone.
      const { owners: _, ...expected } = await reduce(tokens);
      const found = await reduce(await upload(tokens));
      expect(keep(found.tokens)).toMatchObject({ type: tokens.type, dims: expected.tokens.dims });
      const onHost = { ...found, tokens: (await found.tokens.download()) as Tensor };
      expect(bitsOf(onHost)).toEqual(bitsOf(expected));
    }
  });
});

describe('the parts', () => {
  const video = madeVideo(3, [4, 21, 18]);

  test('temporalSimilarity()', async () => {
    const onDevice = await upload(video);
    const best = await temporalSimilarity(onDevice, { match: 'best' });
    const expected = await temporalSimilarity(video, { match: 'best' });
    expect(await data(best.similarities)).toEqual([...expected.similarities.data]);
    expect(await data(best.matches!)).toEqual([...expected.matches]);
    const place = await temporalSimilarity(onDevice);
    expect(place.matches).toBeUndefined();
    expect(place.similarities.dims).toEqual([3, 21]);
    expect(await data(place.similarities)).toEqual([...(await temporalSimilarity(video)).similarities.data]);
  });

  test.each([undefined, 0.6])('assignToAnchors() with beta %s', async (beta) => {
    const rows = float32Tensor(video.data, [84, 18]);
    const options = beta === undefined ? {} : { beta };
    const expected = await assignToAnchors(rows, [3, 80, 3, 41], options);
    const found = await assignToAnchors(await upload(rows), [3, 80, 3, 41], options);
    expect(found.tokens.dims).toEqual([4, 18]);
    expect(await data(found.tokens)).toEqual([...expected.tokens.data]);
    expect(await data(found.sizes)).toEqual([...expected.sizes.data]);
    expect(await data(found.assignment)).toEqual([...expected.assignment]);
    expect(await data(found.similarities)).toEqual([...expected.similarities.data]);
  });

  test('densityPeaks()', async () => {
    const expected = await densityPeaks(video, { clusters: 5 });
    const found = await densityPeaks(await upload(video), { clusters: 5 });
    expect(found.centres.dims).toEqual([4, 5]);
    expect(await data(found.densities)).toEqual([...expected.densities.data]);
    expect(await data(found.distances)).toEqual([...expected.distances.data]);
    expect(await data(found.centres)).toEqual([...expected.centres]);
    expect(await data(found.clusters)).toEqual([...expected.clusters]);
  });

  test('selectDiverse()', async () => {
    const weights = madeAttention(8, [4, 21]);
    const onDevice = await upload(video);
    expect(await data(await selectDiverse(onDevice, 6))).toEqual([...(await selectDiverse(video, 6))]);
    const weighted = await selectDiverse(onDevice, 6, { weights: await upload(weights) });
    expect(await data(weighted)).toEqual([...(await selectDiverse(video, 6, { weights }))]);
  });

  test('segmentFrames()', async () => {
    for (const frames of [1, 12]) {
      const features = float32Tensor(video.data.slice(0, frames * 63), [frames, 63]);
      const options = { minSegments: 4, threshold: 0.2 };
      expect(await segmentFrames(await upload(features), options)).toEqual(await segmentFrames(features, options));
    }
  });

  test('selectTopK()', async () => {
    const scores = madeAttention(9, [4, 50]);
    const budgets = [0, 50, 7, 1];
    expect(await data(await selectTopK(await upload(scores), budgets))).toEqual([
      ...(await selectTopK(scores, budgets)),
    ]);
  });
});

test('what the tokens hold is said as on the host', async () => {
  const video = madeVideo(4, [3, 5, 8]);
  video.data[50] = Number.NaN;
  video.data[70] = Number.POSITIVE_INFINITY;
  const onDevice = await upload(video);
  const error = { code: 'ERR_LONGVLM_NOT_FINITE', message: expect.stringContaining('at frame 1, patch 1, channel 2') };
  for (const name of ['vCast', 'evs', 'fastVid', 'flashVid', 'vidCom2', 'aim'])
    await expect(methods[name]!(onDevice)).rejects.toMatchObject(error);
  await expect(temporalSimilarity(onDevice, { match: 'best' })).rejects.toMatchObject(error);
});

test('the golden videos: what the host keeps', async () => {
  const folder = join(repository, 'test/fixtures/reducers');
  for (const file of ['flashvid.attn_div.still.0.25', 'v_cast.scenes.0.2']) {
    const location = (await openSafetensors(join(folder, `${file}.safetensors`))).tensors.get('tokens')!;
    const video = float32Tensor((await readTensor(location)) as Float32Array, location.shape);
    const onDevice = await upload(video);
    for (const name of ['flashVid', 'vidCom2', 'aim']) {
      const found = await methods[name]!(onDevice);
      const tokens = (await keep(found.tokens).download()) as Tensor;
      const { owners: _, ...expected } = await methods[name]!(video);
      expect(bitsOf({ ...found, tokens })).toEqual(bitsOf(expected));
      expect(found.report.changed).toBe(true);
    }
  }
});

test("the authors' rounding of FlashVID is the host's alone", async () => {
  const onDevice = await upload(madeVideo(3, [2, 5, 4]));
  await expect(flashVid(onDevice, { retentionRatio: 0.5, referenceCounts: true })).rejects.toThrow(
    'Expected false for tokens on a GPU, which does not round as PyTorch does on a CPU, for referenceCounts but received true',
  );
});

test('wrong tensors are refused', async () => {
  const bytes = keep(DeviceBuffer.allocate('int32', [2, 3, 4]));
  await expect(evs(bytes, { retentionRatio: 0.5 })).rejects.toThrow(
    "Expected float type for tokens.type but received 'int32' of type string",
  );
  const flat = keep(DeviceBuffer.allocate('float32', [6, 4]));
  await expect(vCast(flat, { retentionRatio: 0.5 })).rejects.toThrow(
    'Expected shape [frames, patches, channels] for tokens but received [6, 4]',
  );
  await expect(selectTopK(flat, 0)).rejects.toThrow('for budget but received 0');
  await expect(selectTopK(flat, 5)).rejects.toThrow(RangeError);
  const single = keep(DeviceBuffer.allocate('float16', [1, 6, 4]));
  await expect(temporalSimilarity(single)).rejects.toThrow('Expected at least 2 frames on a GPU for tokens.dims[0]');
  await expect(selectTopK(keep(DeviceBuffer.allocate('float16', [2, 3])), 1)).rejects.toThrow('scores.type');
});
