// The whole way with `device: 'cuda'`: ONNX Runtime's CPU over the memory of the emulated device, whose library writes down every
// copy. Nothing here says what a real GPU does.
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FeaturesCache, LongVLM, VideoFeatures, VisionEncoder } from '../../dist/index.js';
import { pico, picoOptions } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';
import { copiesOf, reportBytes } from './copies.js';
import { useCudaLibrary } from './cudaLibrary.js';

const folder = await temporaryFolder();
const counted = <T>(work: () => T | Promise<T>) => copiesOf(folder, work);
const large = (values: readonly number[]) => values.filter((bytes) => bytes > reportBytes);

const { frames, segmentFrames, tokensPerSegment, globalLayers } = picoOptions;
const { image, d: width } = pico.expected.config;
const local = (frames / segmentFrames) * tokensPerSegment;
const tokens = globalLayers + local;
let onCpu: LongVLM;
let onGpu: LongVLM;
let wanted: VideoFeatures;
/** What comes down of one video's features: the tokens, and how many patches are in each. */
let featuresBytes: number[];

beforeAll(async () => {
  await useCudaLibrary();
  onCpu = await LongVLM.load(picoOptions);
  onGpu = await LongVLM.load({ ...picoOptions, device: 'cuda', lazy: true });
  // Which token each patch went into is kept on the host alone.
  wanted = new VideoFeatures({ ...(await onCpu.encode(pico.video)), owners: undefined });
  featuresBytes = [tokens * wanted.channels * 4, local * 4];
}, 900_000);
afterAll(() => Promise.all([onCpu.dispose(), onGpu.dispose()]));

test('frames go up once, embeddings come down, and nothing moves in between', async () => {
  const encoding = await counted(() => onGpu.encode(pico.video));
  const up = encoding.up.reduce((sum, bytes) => sum + bytes);
  expect({ up, down: large(encoding.down), across: encoding.across }).toEqual({
    up: frames * image * image * 3,
    down: [],
    across: [],
  });
  const features = encoding.result;
  const { result, ...copies } = await counted(() => onGpu.project(features));
  expect(copies).toEqual({ up: [], down: [tokens * width * 4], across: [] });
  expect(result).toEqual(await onCpu.project(wanted));
  for (const part of ['local', 'global'] as const)
    expect(await onGpu.project(features, { part })).toEqual(await onCpu.project(wanted, { part }));
  // And nobody takes it for a GPU.
  const { vision, projector } = onGpu.models;
  expect([vision.device, projector?.device]).toEqual(Array(2).fill('cuda (emulated on the CPU)'));

  // What is looked at comes down, once.
  const shapes = await counted(() => [features.tokenCount, features.channels, features.local.dims]);
  expect(shapes.down).toEqual([]);
  expect((await counted(() => features.local.data)).down).toEqual(featuresBytes);
  expect((await counted(() => expect(features).toEqual(wanted))).down).toEqual([]);
  expect(await onGpu.project(features)).toEqual(result);
});

test('features of one video make room for those of the next; what is saved and cached is whole', async () => {
  const first = await onGpu.encode(pico.video);
  const next = await counted(() => onGpu.encode(pico.video));
  expect(large(next.down)).toEqual(featuresBytes);
  expect((await counted(() => first.local.data)).down).toEqual([]);
  expect(first).toEqual(wanted);

  const file = join(folder, 'features.safetensors');
  expect(large((await counted(() => next.result.save(file))).down)).toEqual(featuresBytes);
  expect(await VideoFeatures.load(file)).toEqual(wanted);
  const cache = await FeaturesCache.open(join(folder, 'cache'));
  expect(await onGpu.encode(pico.video, { cache })).toEqual(wanted);
  const again = await counted(() => onGpu.encode(pico.video, { cache }));
  expect(again).toEqual({ result: wanted, up: [], down: [], across: [] });
});

test.each([{ reduction: 'flashvid' }, { reduction: 'vcast', reductionOptions: { stage: 'projector' } }])(
  'a video is reduced as a whole there: %o',
  async (method) => {
    const sampling = { ...method, tokens: 65 };
    const { result: features, ...copies } = await counted(() => onGpu.encode(pico.video, { sampling }));
    const due = new VideoFeatures({ ...(await onCpu.encode(pico.video, { sampling })), owners: undefined });
    const kept = due.tokenCount;
    // Beside frames, numbers of tokens go up; those of kept ones come down, with attention.
    const small = 4 * due.report!.inputTokens;
    const framesBytes = frames * image * image * 3;
    expect(copies.up.reduce((sum, bytes) => sum + (bytes > small ? bytes : 0), 0)).toBe(framesBytes);
    expect(copies.down.filter((bytes) => bytes > small)).toEqual([]);
    expect(copies.across).toEqual([]);
    expect([features.sizes, features.positions, features.report]).toEqual([due.sizes, due.positions, due.report]);
    const embeddings = await counted(() => onGpu.project(features));
    expect(embeddings).toMatchObject({ up: [], down: [kept * width * 4] });
    expect(embeddings.result).toEqual(await onCpu.project(due));
    expect(features).toEqual(due);
  },
);

test('a reducer that knows the host alone gets the patches there', async () => {
  const sampling = { reduction: 'pool' };
  expect(await onGpu.encode(pico.video, { sampling })).toEqual(await onCpu.encode(pico.video, { sampling }));
});

test('the answer is the one of the CPU', async () => {
  const { question } = pico.expected.prompt;
  const greedy = { temperature: 0, maxTokens: 16 };
  const answer = await onGpu.ask(pico.video, question, greedy);
  expect(answer.tokenIds).toEqual((await onCpu.ask(wanted, question, greedy)).tokenIds);
});

test('an abort in the middle leaves the models usable', async () => {
  const abort = new AbortController();
  const reason = new Error('no more');
  const onProgress = ({ stage }: { stage: string }) => void (stage === 'encode' && abort.abort(reason));
  await expect(onGpu.encode(pico.video, { onProgress, signal: abort.signal })).rejects.toBe(reason);
  expect(await onGpu.encode(pico.video)).toEqual(wanted);
});

test('a GPU that is not there is an error that names those that are', async () => {
  await expect(VisionEncoder.create({ path: pico.clip, device: 'cuda:1' })).rejects.toMatchObject({
    code: 'ERR_LONGVLM_CUDA',
    message: 'There is no GPU cuda:1. There are: cuda:0 (emulated on the CPU).',
  });
});
