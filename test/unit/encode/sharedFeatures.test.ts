// Features in an S3-compatible store, of machines that share nothing else.
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { float32Tensor } from '../../../dist/base/tensor.js';
import { FeaturesCache } from '../../../dist/encode/featuresCache.js';
import { VideoFeatures } from '../../../dist/encode/videoFeatures.js';
import { keys, type S3Server, startS3 } from '../../fixtures/s3Server.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const folder = await temporaryFolder();
let s3: S3Server;
beforeAll(async () => {
  s3 = await startS3(['videos']);
});
afterAll(() => s3.close());
beforeEach(() => {
  for (const [name, value] of Object.entries(keys)) vi.stubEnv(name, value);
});
afterEach(() => vi.unstubAllEnvs());

function featuresOf(value: number): VideoFeatures {
  return new VideoFeatures({
    local: float32Tensor(Float32Array.of(value, 0), [2, 1, 1]),
    global: float32Tensor(Float32Array.of(value), [1, 1]),
    sizes: float32Tensor(Float32Array.of(1, 1), [2, 1]),
    timestamps: Float32Array.of(0, 1),
    sampling: {
      ...{ frames: 2, segmentFrames: 1, tokensPerSegment: 1, globalLayers: 1, resize: 'crop', reduction: 'merge' },
      mergeHeads: 1,
    },
    tower: 'tower',
    source: { name: 'made.mp4', durationSeconds: 2, frameCount: 2, width: 2, height: 2, warnings: [] },
  });
}

/** What a machine of its own gives for a video; it encodes this value. */
async function machine(name: string, video: string, value: number) {
  vi.stubEnv('LONGVLM_CACHE', join(folder, name));
  const cache = await FeaturesCache.open('s3://videos/features', undefined, { endpoint: s3.url });
  const request = { content: async () => video, name: `${video}.mp4`, identity: { tower: 'tower' } };
  const features = await cache.featuresOf(request, async () => featuresOf(value));
  return [features.global.data[0], features.source.name, (await cache.list()).length];
}

test('what one machine has encoded, no other encodes again', async () => {
  expect(await machine('a', 'first', 1)).toEqual([1, 'first.mp4', 1]);
  expect(await machine('b', 'first', 2)).toEqual([1, 'first.mp4', 1]);
  expect(await machine('b', 'second', 3)).toEqual([3, 'second.mp4', 2]);
  expect(await machine('a', 'second', 4)).toEqual([3, 'second.mp4', 2]);
});

test('what was damaged in the store is encoded again, and put there', async () => {
  await machine('c', 'third', 1);
  for (const object of s3.objects.get('videos')!.values()) object.body = object.body.subarray(1);
  expect(await machine('d', 'third', 2)).toEqual([2, 'third.mp4', 1]);
  expect(await machine('e', 'third', 3)).toEqual([2, 'third.mp4', 1]);
});

test('wrong options are refused', async () => {
  const open = (options: object) => FeaturesCache.open('s3://videos', undefined, options);
  await expect(open({ endpoint: 7 })).rejects.toThrow(TypeError);
  await expect(open({ onLog: 'x' })).rejects.toThrow(TypeError);
  await expect(open({ endpoint: s3.url, signal: AbortSignal.abort('no') })).rejects.toBe('no');
});
