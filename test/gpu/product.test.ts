// The whole way with `device: 'cuda'`: ONNX Runtime's CPU over the memory of the emulated device, whose library writes down every
// copy. Nothing here says what a real GPU does.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { FeaturesCache, LongVLM, type SamplingRequest, VideoFeatures } from '../../dist/index.js';
import { pico, picoOptions } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';
import { useCudaLibrary } from './cudaLibrary.js';

const folder = await temporaryFolder();
const log = join(folder, 'copies');
const { frames, segmentFrames, tokensPerSegment, globalLayers } = picoOptions;
const imageBytes = pico.expected.config.image ** 2 * 3;
const width = pico.expected.config.d;
const rows = globalLayers + (frames / segmentFrames) * tokensPerSegment;
/** What a kernel found wrong, or not. */
const reportBytes = 16;
let onCpu: LongVLM;
let onGpu: LongVLM;

beforeAll(async () => {
  await useCudaLibrary();
  [onCpu, onGpu] = await Promise.all([
    LongVLM.load(picoOptions),
    LongVLM.load({ ...picoOptions, device: 'cuda', lazy: true }),
  ]);
}, 900_000);
afterAll(() => Promise.all([onCpu.dispose(), onGpu.dispose()]));
afterEach(() => void delete process.env.LV_EMULATED_COPIES);

/** The bytes of each copy that `work` makes, by direction. */
async function copiesOf<T>(
  work: () => T | Promise<T>,
): Promise<{ result: T; up: number[]; down: number[]; across: number[] }> {
  const name = `${log}-${Math.random()}`;
  process.env.LV_EMULATED_COPIES = name;
  const result = await work();
  delete process.env.LV_EMULATED_COPIES;
  const lines = (await readFile(name, 'utf8').catch(() => '')).split('\n').map((line) => line.split(' '));
  const bytes = (way: string) => lines.filter(([of]) => of === way).map(([, count]) => Number(count));
  return { result, up: bytes('up'), down: bytes('down'), across: bytes('across') };
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const large = (values: readonly number[]) => values.filter((bytes) => bytes > reportBytes);

test('frames go up once, embeddings come down, and nothing moves in between', async () => {
  const wanted = await onCpu.project(await onCpu.encode(pico.video));
  const encoding = await copiesOf(() => onGpu.encode(pico.video));
  expect(sum(encoding.up)).toBe(frames * imageBytes);
  expect(large(encoding.down)).toEqual([]);
  expect(encoding.across).toEqual([]);

  const { result, up, down, across } = await copiesOf(() => onGpu.project(encoding.result));
  expect({ up, down, across }).toEqual({ up: [], down: [rows * width * 4], across: [] });
  expect(result.dims).toEqual(wanted.dims);
  expect(result.data).toEqual(wanted.data);
  expect(onGpu.models.vision.device).toBe('cuda (emulated on the CPU)');
  expect(onGpu.models.projector?.device).toBe('cuda (emulated on the CPU)');
});

describe('features that are on the GPU', () => {
  const featuresBytes = () => rows * onGpu.encoder.config.channels * 4;
  const sizesBytes = (frames / segmentFrames) * tokensPerSegment * 4;

  test('are those of the CPU, and come down when they are looked at, once', async () => {
    const wanted = await onCpu.encode(pico.video);
    const features = await onGpu.encode(pico.video);
    const counted = await copiesOf(() => [features.tokenCount, features.channels, features.local.dims]);
    expect(counted.down).toEqual([]);
    const { down } = await copiesOf(() => features.local.data);
    expect(down).toEqual([featuresBytes(), sizesBytes]);
    const { down: again } = await copiesOf(() => expect(features).toEqual(wanted));
    expect(again).toEqual([]);
    // And the way from the host is open.
    expect(await onGpu.project(features)).toEqual(await onCpu.project(wanted));
  });

  const requests: [string, SamplingRequest][] = [
    ['other segments, in one run', { segmentFrames: 5, tokensPerSegment: 3 }],
    ['a single segment', { segmentFrames: frames, tokensPerSegment: 20 }],
    ['no global tokens', { globalLayers: 0 }],
    ['all layers', { globalLayers: 7 }],
    ['a reducer that knows the host alone', { reduction: 'pool' }],
  ];
  test.each(requests)('%s: as on the CPU', async (_, sampling) => {
    const wanted = await onCpu.encode(pico.video, { sampling });
    const features = await onGpu.encode(pico.video, { sampling });
    for (const part of ['both', 'local'] as const)
      expect(await onGpu.project(features, { part })).toEqual(await onCpu.project(wanted, { part }));
    expect(features).toEqual(wanted);
  });

  test('are saved and cached whole', async () => {
    const wanted = await onCpu.encode(pico.video);
    const file = join(folder, 'features.safetensors');
    await (await onGpu.encode(pico.video)).save(file);
    expect(await VideoFeatures.load(file)).toEqual(wanted);
    const cache = await FeaturesCache.open(join(folder, 'cache'));
    const first = await onGpu.encode(pico.video, { cache });
    expect(first).toEqual(wanted);
    expect((await copiesOf(() => onGpu.encode(pico.video, { cache }))).up).toEqual([]);
  });

  test('make room for those of the next video', async () => {
    const first = await onGpu.encode(pico.video);
    const { down } = await copiesOf(() => onGpu.encode(pico.video, { sampling: { globalLayers: 2 } }));
    expect(large(down)).toEqual([featuresBytes(), sizesBytes]);
    expect((await copiesOf(() => first.local.data)).down).toEqual([]);
    expect(first).toEqual(await onCpu.encode(pico.video));
  });
});

test('the answer is the one of the CPU', async () => {
  const { question } = pico.expected.prompt;
  const greedy = { temperature: 0, maxTokens: 16 };
  const [answer, wanted] = [
    await onGpu.ask(pico.video, question, greedy),
    await onCpu.ask(pico.video, question, greedy),
  ];
  expect(answer.tokenIds).toEqual(wanted.tokenIds);
});

test('an abort in the middle leaves the models usable', async () => {
  const abort = new AbortController();
  const reason = new Error('no more');
  const onProgress = ({ stage, done }: { stage: string; done: number }) => {
    if (stage === 'encode' && done >= segmentFrames) abort.abort(reason);
  };
  await expect(onGpu.encode(pico.video, { onProgress, signal: abort.signal })).rejects.toBe(reason);
  expect(await onGpu.encode(pico.video)).toEqual(await onCpu.encode(pico.video));
});
