// Segments that are encoded on a GPU give what they give on the host, however many go there at once. Over the emulated device.
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { LongVLMError } from '../../dist/base/errors.js';
import { gatherOnDevice } from '../../dist/encode/deviceSegments.js';
import { type Gathering, gatherOnHost, type VideoShape, type VideoTokens } from '../../dist/encode/gatheredTokens.js';
import type { SegmentEncoder } from '../../dist/encode/segment.js';
import { DeviceBuffer, VideoFeatures, type VideoFeaturesInit } from '../../dist/index.js';
import type { Reducer } from '../../dist/reduce/reducer.js';
import { makeReducer } from '../../dist/reduce/reducers.js';
import { shapeOfCells, squareShape } from '../../dist/tower/frameShape.js';
import type { VisionPrecision } from '../../dist/tower/precision.js';
import { Tower } from '../../dist/tower/tower.js';
import { pico, qwen3vl } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';
import { copiesOf, reportBytes } from './copies.js';
import { useCudaLibrary } from './cudaLibrary.js';
import { addAll, gather as gatherReads, noise } from './gathering.js';

const folder = await temporaryFolder();
let onCpu: Tower;
let onGpu: Tower;

const open = (device: string, precision: VisionPrecision = 'float32', path = pico.clip) =>
  Tower.open({ path, precision, device, threads: 1, lazy: true });

beforeAll(async () => {
  await useCudaLibrary();
  [onCpu, onGpu] = await Promise.all([open('cpu'), open('cuda')]);
}, 900_000);
afterAll(() => Promise.all([onCpu.dispose(), onGpu.dispose()]));

/** What the package makes features of; not declared for users. */
function featuresOf(tokens: VideoTokens, rest: Omit<VideoFeaturesInit, 'local' | 'global' | 'sizes'>): VideoFeatures {
  return (VideoFeatures as unknown as { of(...args: Parameters<typeof featuresOf>): VideoFeatures }).of(tokens, rest);
}

const encoderOf = (tower: Tower, { tokensPerSegment }: VideoShape, reduction = 'merge'): SegmentEncoder => ({
  tower,
  shape: squareShape(tower.config),
  reducer: makeReducer(reduction, { tokensPerSegment, mergeHeads: tower.config.heads }) as Reducer,
  projector: undefined,
});

const segmentsOf = ({ frames, segmentFrames }: VideoShape) =>
  noise(frames, segmentFrames, onCpu.config.imageSize ** 2 * 3);
const gather = (gathering: Gathering, shape: VideoShape) => gatherReads(gathering, segmentsOf(shape));

describe('segments on a GPU', () => {
  const shape = { frames: 15, segmentFrames: 3, tokensPerSegment: 4, globalLayers: 2 };
  const all = 7;

  test.each<[string, VideoShape, number, number[]]>([
    ['one run for all', shape, 100, [0, 0, 0, 0, 15]],
    ['several runs, and a smaller last one', shape, 7, [0, 6, 6, 12, 15]],
    ['a run for each, which is larger than wanted', shape, 2, [3, 6, 9, 12, 15]],
    ['without class tokens', { ...shape, globalLayers: 0 }, 6, [0, 6, 6, 12, 15]],
    ['all layers', { ...shape, globalLayers: all }, 6, [0, 6, 6, 12, 15]],
    ['one segment of one frame', { ...shape, frames: 1, segmentFrames: 1 }, 50, [1]],
  ])('%s', async (_, shape, atOnce, runs) => {
    const wanted = await gather(gatherOnHost(encoderOf(onCpu, shape), shape, undefined), shape);
    const gathering = await gatherOnDevice(encoderOf(onGpu, shape), shape, undefined, atOnce);
    const { result, ...copies } = await copiesOf(folder, () => gather(gathering!, shape));
    expect(result).toEqual({ encoded: runs, tokens: wanted.tokens });
    const { imageSize, channels } = onGpu.config;
    const tokens = (shape.frames / shape.segmentFrames) * shape.tokensPerSegment;
    expect(copies.up).toEqual([...segmentsOf(shape)].map(() => shape.segmentFrames * imageSize ** 2 * 3));
    expect(copies.down.filter((bytes) => bytes !== reportBytes)).toEqual([
      (shape.globalLayers + tokens) * channels * 4,
      ...(tokens * 4 === reportBytes ? [] : [tokens * 4]),
    ]);
    expect(copies.across).toEqual([]);
  });

  test('of which tokens are picked: those most like the means, in their places', async () => {
    const wanted = await gather(gatherOnHost(encoderOf(onCpu, shape, 'pick'), shape, undefined), shape);
    const gathering = (await gatherOnDevice(encoderOf(onGpu, shape, 'pick'), shape, undefined, 6))!;
    const { result, ...copies } = await copiesOf(folder, () => addAll(gathering, segmentsOf(shape)));
    // Two sums in float64 for each patch of a segment.
    const { patches } = onGpu.config;
    expect(copies.down[0]).toBe(2 * 8 * shape.segmentFrames * patches);
    expect(copies.across).toEqual([]);
    await result.onDevice!.bringDown();
    expect(result.tokens).toEqual(wanted.tokens);
  });

  test('of a tower of any size: pairs of frames, on its grid', async () => {
    const towers = await Promise.all(
      (['cpu', 'cuda'] as const).map((device) => open(device, 'float32', qwen3vl.folder)),
    );
    const pairs = { frames: 8, segmentFrames: 4, tokensPerSegment: 5, globalLayers: 0 };
    const found = [];
    for (const tower of towers) {
      const encoder = {
        ...encoderOf(tower, pairs, 'pick'),
        shape: shapeOfCells(tower.config, { width: 16, height: 24 }),
      };
      const onHost = tower === towers[0];
      const gathering = onHost
        ? gatherOnHost(encoder, pairs, undefined)
        : await gatherOnDevice(encoder, pairs, undefined);
      found.push((await gatherReads(gathering!, noise(8, 4, 16 * 24 * 3))).tokens);
      await tower.dispose();
    }
    expect(found[1]).toEqual(found[0]);
    expect(found[1]!.grid).toEqual({ steps: 2, rows: 3, columns: 2 });
  });

  // The halves are merged as they are: into the same tokens, whose means are then rounded to halves, by at most 2^-11 of them.
  test('in float16 give what the same halves give on the host, rounded', async () => {
    const [cpu, gpu] = await Promise.all([open('cpu', 'float16'), open('cuda', 'float16')]);
    const wanted = await gather(gatherOnHost(encoderOf(cpu, shape), shape, undefined), shape);
    const gathering = (await gatherOnDevice(encoderOf(gpu, shape), shape, undefined, 6))!;
    const { result, across } = await copiesOf(folder, () => gather(gathering, shape));
    expect(across).toEqual([]);
    const { local, global, sizes } = result.tokens;
    expect(sizes).toEqual(wanted.tokens.sizes);
    for (const [found, due] of [
      [local, wanted.tokens.local],
      [global, wanted.tokens.global],
    ] as const) {
      expect(found.dims).toEqual(due.dims);
      const errors = found.data.map((value, i) => Math.abs(value - due.data[i]!) / (Math.abs(due.data[i]!) + 1e-4));
      expect(Math.max(...errors)).toBeLessThan(2 ** -11 * 1.001);
      expect(Math.max(...errors), 'they were really rounded').toBeGreaterThan(2 ** -14);
    }
    // What runs on the host gets float32 there.
    const [frames] = segmentsOf(shape);
    const outputs = await Promise.all([cpu, gpu].map((tower) => tower.encodeFrames(frames!)));
    expect(outputs[1]).toEqual(outputs[0]);
    await Promise.all([cpu.dispose(), gpu.dispose()]);
  });

  test('a tower on the host, or a reducer that somebody made, is for the host', async () => {
    const encoder = encoderOf(onGpu, shape);
    expect(await gatherOnDevice(encoderOf(onCpu, shape), shape, undefined)).toBeUndefined();
    const reducer = { ...encoder.reducer, reduce: () => Promise.reject(new Error('mine')) };
    expect(await gatherOnDevice({ ...encoder, reducer }, shape, undefined)).toBeUndefined();
  });

  test('take less memory at once where there is not enough, and say so when a segment is too large', async () => {
    const wanted = await gather(gatherOnHost(encoderOf(onCpu, shape), shape, undefined), shape);
    const allocate = DeviceBuffer.allocate.bind(DeviceBuffer);
    let room = 4;
    const full = new LongVLMError('ERR_LONGVLM_CUDA_OOM', 'The GPU has not enough memory. Dispose what is not needed.');
    const spied = vi.spyOn(DeviceBuffer, 'allocate').mockImplementation((type, dims, options) => {
      if (type === 'uint8' && dims[0]! > room) throw full;
      return allocate(type, dims, options);
    });
    try {
      const gathering = (await gatherOnDevice(encoderOf(onGpu, shape), shape, undefined, 12))!;
      expect(await gather(gathering, shape)).toEqual({ encoded: [3, 6, 9, 12, 15], tokens: wanted.tokens });
      room = 2;
      await expect(gatherOnDevice(encoderOf(onGpu, shape), shape, undefined, 12)).rejects.toMatchObject({
        code: 'ERR_LONGVLM_CUDA_OOM',
        message: expect.stringMatching(
          /^A segment of 3 frames does not fit .* fewer frames in a segment .* device cpu\.$/,
        ),
      });
    } finally {
      spied.mockRestore();
    }
  });

  test('an abort is the reason of the run, and what is disposed meanwhile does no harm', async () => {
    const abort = new AbortController();
    const gathering = (await gatherOnDevice(encoderOf(onGpu, shape), shape, abort.signal, 3))!;
    const [frames] = segmentsOf(shape);
    const run = gathering.add(frames!);
    const reason = new Error('enough');
    abort.abort(reason);
    gathering.dispose();
    await expect(run).rejects.toBe(reason);
    await onGpu.release();
    const again = (await gatherOnDevice(encoderOf(onGpu, shape), shape, undefined))!;
    const wanted = await gather(gatherOnHost(encoderOf(onCpu, shape), shape, undefined), shape);
    expect((await gather(again, shape)).tokens).toEqual(wanted.tokens);
  });

  test('features of a disposed tower come down when they are read', async () => {
    const gathering = (await gatherOnDevice(encoderOf(onGpu, shape), shape, undefined))!;
    for (const frames of segmentsOf(shape)) await gathering.add(frames);
    const tokens = await gathering.finish();
    gathering.dispose();
    await onGpu.release();
    const wanted = await gather(gatherOnHost(encoderOf(onCpu, shape), shape, undefined), shape);
    const rest = {
      timestamps: new Float32Array(shape.frames),
      sampling: { ...shape, resize: 'crop' as const, reduction: 'merge', mergeHeads: 4 },
      tower: onGpu.identity,
      source: { name: 'noise', durationSeconds: 1, frameCount: 15, width: 8, height: 8, warnings: [] },
    };
    const features = featuresOf(tokens, rest);
    expect(features.tokens()).toEqual(new VideoFeatures({ ...wanted.tokens, ...rest }).tokens());
  });
});
