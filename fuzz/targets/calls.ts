// Calls with any JavaScript value for any argument: the package's functions, and the addon's below their checks.
import * as longvlm from 'longvlm';
import { binding, fixture, ortLibrary } from '../package.js';
import type { Random } from '../random.js';
import type { Target } from '../target.js';
import { nativeReducerCalls, publicReducerCalls } from './reducerCalls.js';
import { type AnyFunction, type Call, floats, nativeCall, publicCall, tensor } from './spoiled.js';

const builder = new longvlm.GraphBuilder('double');
const x = builder.input('x', ['n', 2]);
builder.output('y', builder.node('Add', [x, x]), ['n', 2]);
const doubling = await builder.build();

const nativeCalls: readonly Call[] = [
  nativeCall('mergeTokens', mergeArguments),
  nativeCall('mergeTokensSync', mergeArguments),
  nativeCall('mergeTokensSync', mergeArguments),
  nativeCall('tokenMetric', () => ({ tokens: floats(24), dims: [1, 6, 4], heads: 2, out: new Float32Array(12) })),
  nativeCall('bipartiteSoftMatching', () => ({
    ...{ metric: floats(24), dims: [1, 6, 4], r: 2, protect: 0, outUnmerged: new Int32Array(1) },
    ...{ outSource: new Int32Array(2), outDestination: new Int32Array(2), outAssignment: new Int32Array(6) },
  })),
  nativeCall('mergeByAssignment', () => ({
    ...{ tensor: floats(24), dims: [1, 6, 4], slots: 2, assignment: new Int32Array([0, 1, 0, 1, 0, 1]) },
    ...{ sizes: new Float32Array(6).fill(1), mean: true, out: new Float32Array(8) },
  })),
  nativeCall('spreadByAssignment', () => ({
    ...{
      tensor: floats(8),
      dims: [1, 2, 4],
      rows: 6,
      assignment: new Int32Array([0, 1, 0, 1, 0, 1]),
      out: new Float32Array(24),
    },
  })),
  nativeCall('poolClsTokens', () => ({ cls: floats(24), dims: [2, 3, 4], out: new Float32Array(12) })),
  nativeCall('disposeTokenMerger', () => ({ merger: binding().createTokenMerger() })),
  nativeCall('cudaDevices', () => ({ library: '/nowhere/library.so', needsDriver: true })),
  nativeCall('allocateDeviceBuffer', () => ({ library: '/nowhere/library.so', device: 0, type: 'float32', count: 4 })),
  nativeCall('freeDeviceBuffer', () => ({ buffer: {} })),
  nativeCall('uploadToDevice', () => ({ buffer: {}, data: new Float32Array(4) })),
  nativeCall('downloadFromDevice', () => ({ buffer: {}, out: new Float32Array(4) })),
  nativeCall('evaluateEmbeddings', () => ({
    ...{ context: {}, contextSize: 64, sequence: 0, first: 0, count: 2, width: 4, embeddings: new Float32Array(8) },
  })),
  nativeCall('setMaxInstructionSet', () => ({ name: 'avx512' })),
  nativeCall('instructionSet', () => ({})),
  nativeCall('instructionSets', () => ({})),
  nativeCall('createTokenMerger', () => ({})),
  nativeCall('ortLibrary', () => ({ library: ortLibrary() })),
  nativeCall('openOrtSession', openArguments),
  nativeCall('runOrtSession', runArguments),
  nativeCall('releaseOrtSession', () => ({ session: openSession() })),
];

function openArguments(): Record<string, unknown> {
  return {
    ...{ library: ortLibrary(), model: doubling.bytes, provider: 'cpu', gpu: 0, threads: 1 },
    ...{ providerOptions: [], config: ['session.force_spinning_stop', '1'] },
  };
}

function openSession(): unknown {
  const { session, promise } = binding().openOrtSession(openArguments() as never);
  promise.catch(() => {});
  return session;
}

function runArguments(): Record<string, unknown> {
  const operand = (name: string) => ({ name, type: 'float32', dims: [3, 2], data: floats(6) });
  return { session: openSession(), rows: 3, batch: 2, inputs: [operand('x')], outputs: [operand('y')] };
}

function mergeArguments(): Record<string, unknown> {
  return {
    ...{
      merger: undefined,
      tokens: floats(24),
      dims: [1, 6, 4],
      heads: 2,
      schedule: [2, 1],
      protect: 0,
      sizes: undefined,
    },
    ...{ outTokens: new Float32Array(12), outSizes: new Float32Array(3), outAssignment: new Int32Array(6) },
  };
}

const assigned = () => new Int32Array([0, 1, 0, 1, 0, 1]);
const mergeOptions = () => ({
  heads: 2,
  schedule: [2, 1],
  protect: 0,
  sizes: { type: 'float32', data: new Float32Array(6).fill(1), dims: [1, 6] },
  signal: undefined,
  device: 'auto',
});
const sampling = () => ({
  frames: 4,
  segmentFrames: 2,
  tokensPerSegment: 3,
  globalLayers: 1,
  resize: 'crop',
  reduction: 'merge',
  fps: undefined,
  start: 0,
  end: 2,
});
const models = () => ({
  ...sampling(),
  model: undefined,
  vision: '/nowhere/vision',
  projector: '/nowhere/p',
  llm: '/nowhere/l',
  device: 'cpu',
  gpu: 'off',
  gpuLayers: 0,
  threads: 1,
  temperature: 0,
  template: 'vicuna_v1_1',
  lazy: true,
  offline: true,
  cache: '/nowhere/cache',
  ffmpeg: 'ffmpeg',
  visionPrecision: 'float32',
  onProgress: () => {},
  signal: undefined,
});

const features = () => ({
  ...{ local: tensor(2, 3, 4), global: tensor(1, 4), sizes: tensor(2, 3), timestamps: floats(4), tower: 't' },
  sampling: { frames: 4, segmentFrames: 2, tokensPerSegment: 3, globalLayers: 1, resize: 'crop', reduction: 'merge' },
  source: { name: 'v', durationSeconds: 2, frameCount: 50, width: 8, height: 8, warnings: ['w'] },
});
const graph = async () => ({ bytes: new Uint8Array(0), weightsFolder: undefined });
const location = () => ({
  name: 't',
  type: 'F32',
  shape: [2],
  file: fixture('pico/projector.safetensors'),
  offset: 8,
  byteLength: 8,
});
const towerSource = () => ({
  config: {
    ...{ imageSize: 8, patches: 4, grid: [2, 2], channels: 6, summaries: 0, heads: 2 },
    ...{ mean: [0, 0, 0], std: [1, 1, 1], rescale: 1, resize: 'crop', shortestEdge: 8 },
  },
  patchStates: { layers: [1], depth: 2, keepsClassToken: false },
  details: { kind: 'fuzz' },
  description: { version: 1 },
  tensors: [location()],
  linear: [],
  graph,
});
const projectorSource = () => ({
  ...{ kind: 'fuzz', inChannels: 4, outChannels: 4, description: {}, tensors: [location()], graph },
  trainedStates: { layers: [-2], keepsClassToken: false },
});

/** Reads an iterator until its first value. */
async function first(iterable: unknown): Promise<unknown> {
  for await (const value of iterable as AsyncIterable<unknown>) return value;
  return undefined;
}

/** Opens what a family from outside gives. */
async function openTower(source: unknown): Promise<unknown> {
  longvlm.registerTower({ name: 'fuzz', open: () => source as never, namesIn: () => source as never });
  try {
    return await longvlm.loadVideoEncoder({ vision: fixture('pico/clip'), device: 'cpu', lazy: true });
  } finally {
    longvlm.registerTower({ name: 'fuzz', open: async () => undefined });
  }
}

async function openProjector(source: unknown): Promise<unknown> {
  longvlm.registerProjector({ name: 'fuzz', open: () => source as never });
  try {
    return await longvlm.Projector.load(fixture('pico/projector.safetensors'), { lazy: true });
  } finally {
    longvlm.registerProjector({ name: 'fuzz', open: async () => undefined });
  }
}

const exported = longvlm as unknown as Record<string, AnyFunction>;
const publicCalls: readonly Call[] = [
  publicCall(exported.mergeTokens!, () => [tensor(1, 6, 4), mergeOptions()]),
  publicCall(exported.mergeTokensSync!, () => [tensor(1, 6, 4), mergeOptions()]),
  publicCall(
    (input, options, call) => new longvlm.TokenMerger(options as never).mergeSync(input as never, call as never),
    () => [tensor(1, 6, 4), { heads: 2, keep: 3, protect: 1 }, { sizes: undefined }],
  ),
  publicCall(
    (input, options, call) => new longvlm.TokenMerger(options as never).merge(input as never, call as never),
    () => [tensor(1, 6, 4), { heads: 2, keep: 3, protect: 1 }, { sizes: undefined, signal: undefined }],
  ),
  publicCall(exported.tokenMetric!, () => [tensor(1, 6, 4), { heads: 2, signal: undefined }]),
  publicCall(exported.bipartiteSoftMatching!, () => [tensor(1, 6, 4), 2, { protect: 0, signal: undefined }]),
  publicCall(
    async (input, options) =>
      (await longvlm.bipartiteSoftMatching(tensor(1, 6, 4) as never, 2)).merge(input as never, options as never),
    () => [tensor(1, 6, 4), { mode: 'mean', sizes: tensor(1, 6), signal: undefined }],
  ),
  publicCall(exported.unmergeTokens!, () => [tensor(1, 2, 4), assigned(), { signal: undefined }]),
  publicCall(exported.poolClsTokens!, () => [tensor(2, 3, 4), { signal: undefined }]),
  publicCall(exported.mergeSchedule!, () => [100, 30]),
  publicCall(longvlm.DeviceBuffer.allocate as AnyFunction, () => ['float32', [2, 3], { device: 'cuda' }]),
  publicCall(longvlm.DeviceBuffer.upload as AnyFunction, () => [tensor(2, 3), { device: 'cuda', signal: undefined }]),
  publicCall(exported.sampleFrameIndices!, () => [100, 10]),
  publicCall(exported.frameGeometry!, () => [
    { imageSize: 224, resize: 'crop', shortestEdge: 224, mean: [0, 0, 0], std: [1, 1, 1], rescale: 1 / 255 },
    'crop',
  ]),
  publicCall(exported.scoreAnswer!, () => ['first', 'A red circle', 'A red circle']),
  publicCall(exported.reducerId!, () => ['merge', { heads: 2 }]),
  publicCall(exported.mergeBySchedule!, () => [[2, 1], 2]),
  publicCall(exported.openWeights!, () => ['/nowhere/file']),
  publicCall(exported.probeVideo!, () => ['/nowhere/video.mp4', { ffmpeg: 'ffmpeg', signal: undefined }]),
  publicCall(exported.openVideo!, () => [
    new Uint8Array(0),
    { ffmpeg: 'ffmpeg', signal: undefined, onProgress: undefined },
  ]),
  publicCall(exported.openVideo!, () => [
    { frames: ['/nowhere/1.png', '/nowhere/2.png'], timestamps: [0, 1] },
    { ffmpeg: 'ffmpeg' },
  ]),
  publicCall(
    (video, options) => first(longvlm.readSegments(video as never, options as never)),
    () => [
      '/nowhere/video.mp4',
      {
        frames: 4,
        segmentFrames: 2,
        geometry: { resize: 'crop', size: 8 },
        strategy: 'auto',
        start: 0,
        end: 1,
        onProgress: undefined,
      },
    ],
  ),
  publicCall(exported.readDataset!, () => ['/nowhere/questions.jsonl', { videos: 1, signal: undefined }]),
  publicCall(exported.savePredictions!, () => [
    '/nowhere/predictions.jsonl',
    [{ entry: { video: 'v', question: 'q', answer: 'a', kind: 'k' }, answers: ['a'], score: 1 }],
  ]),
  publicCall(
    (init, part) => new longvlm.VideoFeatures(init as never).tokens(part as never),
    () => [features(), 'both'],
  ),
  publicCall(exported.selectFrames!, () => [
    { path: '/nowhere/v', durationSeconds: 2, frameSource: { length: 50, seconds: (frame: number) => frame / 25 } },
    { frames: 4, segmentFrames: 2, start: 0, end: 1 },
  ]),
  publicCall(longvlm.VisionEncoder.create as AnyFunction, () => [
    { path: '/nowhere/p', globalLayers: 1, precision: 'float32', device: 'cpu', threads: 1, lazy: true },
  ]),
  publicCall(longvlm.VideoFeatures.load as AnyFunction, () => ['/nowhere/features.safetensors', { tower: 'x' }]),
  publicCall(longvlm.LongVLM.load as AnyFunction, () => [models()]),
  publicCall(exported.loadVideoEncoder!, () => [models()]),
  publicCall(exported.describeModels!, () => [models()]),
  publicCall(longvlm.Projector.load as AnyFunction, () => [
    '/nowhere/p',
    { device: 'cpu', threads: 1, lazy: true, signal: undefined },
  ]),
  publicCall(longvlm.LanguageModel.load as AnyFunction, () => [
    { path: '/nowhere/l', device: 'cpu', gpuLayers: 0, threads: 1, lazy: true, signal: undefined },
  ]),
  publicCall(exported.evaluate!, () => [
    {},
    { entries: [{ video: 'v', question: 'q', answer: 'a', kind: 'k' }] },
    { ...sampling(), maxTokens: 5, resume: undefined },
  ]),
  publicCall(exported.registerReducer!, () => [{ name: 'fuzz', create: () => ({}) }]),
  publicCall(exported.registerTower!, () => [{ name: 'fuzz', open: async () => undefined }]),
  publicCall(exported.registerProjector!, () => [{ name: 'fuzz', open: async () => undefined }]),
  publicCall(exported.registerPromptTemplate!, () => [
    { name: 'fuzz', system: '', firstTurn: () => [], nextTurn: () => [] },
  ]),
  publicCall(openTower, () => [towerSource()]),
  publicCall(openProjector, () => [projectorSource()]),
];

/** Waits for what a call returned, where it is to be waited for, and disposes it. */
async function settled(result: unknown): Promise<void> {
  const task = result as { promise?: Promise<unknown> } | undefined;
  const made: unknown = await (task?.promise instanceof Promise ? task.promise : result);
  const { dispose } = (made ?? {}) as { dispose?: () => unknown };
  if (typeof dispose === 'function') await dispose.call(made);
}

/** The same for the addon, which passes on what JavaScript throws when a caller's object is read, and codes of its own. */
async function nativeSettled(call: Call, random: Random): Promise<void> {
  try {
    await settled(call(random));
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown };
    if (
      /^ERR_LONGVLM_(CUDA|UNSUPPORTED|INFERENCE|DISPOSED)/.test(String(code)) ||
      /has been revoked|incompatible receiver/.test(String(message))
    )
      return;
    throw error;
  }
}

const limits = { batch: 2000, seconds: 10, megabytes: 1500, share: 1, argumentErrors: true } as const;

export const callTargets: readonly Target[] = [
  {
    ...limits,
    name: 'native',
    run: (_, random) => nativeSettled(random.pick(random.chance(0.3) ? nativeReducerCalls : nativeCalls), random),
  },
  {
    ...limits,
    name: 'arguments',
    run: (_, random) => settled(random.pick(random.chance(0.3) ? publicReducerCalls : publicCalls)(random)),
  },
];
