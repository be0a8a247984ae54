// Calls with any JavaScript value for any argument: the package's functions, and the addon's below their checks.
import vm from 'node:vm';
import * as longvlm from 'longvlm';
import { binding } from '../package.js';
import type { Random } from '../random.js';
import { Planted, type Target } from '../target.js';

const realm = vm.createContext({});
const inRealm = (code: string) => vm.runInContext(code, realm) as unknown;

function planted(): never {
  throw new Planted('planted');
}

const throwingGetter = () =>
  new Proxy(
    {},
    { get: planted, has: planted, ownKeys: planted, getOwnPropertyDescriptor: planted, getPrototypeOf: planted },
  );

/** A value whose answer changes from one read to the next, and ends in an error. */
function fickle(values: readonly unknown[]): PropertyDescriptor {
  let read = 0;
  return { enumerable: true, configurable: true, get: () => (read < values.length ? values[read++] : planted()) };
}

function detached(): Float32Array {
  const array = new Float32Array(8);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

function revoked(target: object): unknown {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

type Maker = (random: Random) => unknown;
// Newer than the language that this is compiled for.
const Resizable = ArrayBuffer as unknown as new (length: number, options: object) => ArrayBuffer;
const resizable = (length: number) => new Resizable(length, { maxByteLength: 256 });

const values: readonly Maker[] = [
  () => undefined,
  () => null,
  (random) => random.chance(0.5),
  (random) => random.edge(),
  (random) => -random.edge(),
  (random) => random.pick([Number.NaN, Number.POSITIVE_INFINITY, -0, 0.5, 1e300]),
  (random) => BigInt(random.edge()),
  () => Symbol('symbol'),
  (random) =>
    random.pick(['', 'auto', 'cpu', 'cuda', 'float32', 'crop', 'merge', 'x'.repeat(1000), '\u0000', '\ud800']),
  () => [],
  () => ({}),
  () => () => 1,
  () => class {},
  () => new Date(Number.NaN),
  () => Object.create(null),
  () => ({ toString: planted, valueOf: planted }),
  () => ({ toString: () => ({}), valueOf: () => ({}) }),
  () => ({
    get constructor() {
      return planted();
    },
  }),
  () => ({ constructor: null }),
  () => ({ constructor: { name: Symbol('name') } }),
  throwingGetter,
  () => revoked({}),
  () => revoked([]),
  () => revoked(() => {}),
  () => new Proxy([], {}),
  () => new Proxy(new Float32Array(4), {}),
  () => Object.create(new Float32Array(4)),
  () => Object.create(Float32Array.prototype),
  () => Object.create(AbortSignal.prototype),
  () => Object.defineProperty([1, 2, 3], 1, { get: planted }),
  () => Object.assign([1], { 2: 3 }),
  () => ({ length: 2 ** 32, 0: 1 }),
  (random) => new Array(random.pick([3, 5, 1000])).fill(random.edge()),
  (random) => Array.from({ length: random.below(4) }, () => random.edge()),
  (random) => new Float32Array(random.below(20)),
  (random) => new Uint16Array(random.below(20)),
  (random) => new Int32Array(random.below(20)),
  (random) => new Uint8Array(random.below(20)),
  () => new Float64Array(8),
  () => new BigInt64Array(8),
  () => new DataView(new ArrayBuffer(8)),
  () => new ArrayBuffer(32),
  () => Buffer.alloc(8),
  detached,
  () => new Float32Array(new SharedArrayBuffer(32)),
  () => new Float32Array(resizable(32)),
  () => {
    const buffer = resizable(64);
    const array = new Float32Array(buffer, 32, 8);
    (buffer as unknown as { resize(length: number): void }).resize(16);
    return array;
  },
  () => inRealm('new Float32Array(8).fill(1)'),
  () => inRealm('new Int32Array(8)'),
  () => inRealm('[1, 2, 3]'),
  () => inRealm('({})'),
  () => inRealm('new Proxy({}, {})'),
  () => new AbortController().signal,
  () => AbortSignal.abort(new Planted('planted')),
  () => new URL('file:///nowhere'),
  () => new Blob(['x']),
  () => Promise.resolve(1),
  () => binding().createTokenMerger(),
];

const anyValue: Maker = (random) => random.pick(values)(random);

/** A copy of right arguments in which some are exchanged, missing, or read by a getter. */
function spoiled(right: Readonly<Record<string, unknown>>, random: Random): unknown {
  if (random.chance(0.04)) return anyValue(random);
  const copy = { ...right };
  const keys = Object.keys(copy);
  for (let left = random.pick([0, 1, 1, 1, 2, 4]); left > 0 && keys.length > 0; left--) {
    const [key] = keys.splice(random.below(keys.length), 1) as [string];
    const value = right[key];
    if (random.chance(0.2)) {
      const reads = [[value], [value, anyValue(random)], [], [anyValue(random), value]];
      Object.defineProperty(copy, key, fickle(random.pick(reads)));
    } else if (Array.isArray(value) && random.chance(0.5)) {
      const items: unknown[] = [...value];
      items[random.below(items.length + 1)] = anyValue(random);
      copy[key] = items;
    } else if (isRecord(value) && random.chance(0.6)) copy[key] = spoiled(value, random);
    else if (random.chance(0.05)) delete copy[key];
    else copy[key] = anyValue(random);
  }
  return random.chance(0.03) ? new Proxy(copy, {}) : copy;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

const floats = (length: number) => Float32Array.from({ length }, (_, i) => ((i * 7) % 13) / 13);
const tensor = (...dims: number[]) => ({ type: 'float32', data: floats(dims.reduce((a, b) => a * b, 1)), dims });

type Call = (random: Random) => unknown;
type AnyFunction = (...args: unknown[]) => unknown;

function nativeCall(name: string, right: () => Record<string, unknown>): Call {
  return (random) => {
    const call = (binding() as unknown as Record<string, AnyFunction>)[name]!;
    const args = [spoiled(right(), random), anyValue(random)].slice(0, random.pick([1, 1, 1, 1, 1, 1, 0, 2]));
    return Reflect.apply(call, random.chance(0.9) ? undefined : anyValue(random), args);
  };
}

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
  nativeCall('trimMemory', () => ({})),
];

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

/** A function of the package: right arguments, of which objects are spoiled and others exchanged. */
function publicCall(call: AnyFunction, right: () => readonly unknown[]): Call {
  return (random) => {
    const args = right().map((value) =>
      isRecord(value) ? spoiled(value, random) : random.chance(0.3) ? anyValue(random) : value,
    );
    return call(...args);
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

/** Reads an iterator until its first value. */
async function first(iterable: unknown): Promise<unknown> {
  for await (const value of iterable as AsyncIterable<unknown>) return value;
  return undefined;
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
    [{ video: 'v', question: 'q', answer: 'a' }],
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
    '/nowhere/l',
    { device: 'cpu', gpuLayers: 0, threads: 1, lazy: true, signal: undefined },
  ]),
  publicCall(exported.evaluate!, () => [
    {},
    { entries: [{ video: 'v', question: 'q', answer: 'a', kind: 'k' }] },
    { ...sampling(), maxTokens: 5, resume: undefined },
  ]),
  publicCall(exported.registerReducer!, () => [{ name: 'fuzz', create: () => ({}) }]),
  publicCall(exported.registerTower!, () => [{ name: 'fuzz', open: async () => undefined }]),
  publicCall(exported.registerProjector!, () => [{ name: 'fuzz', open: async () => undefined }]),
  publicCall(exported.registerPromptTemplate!, () => [{ name: 'fuzz', firstTurn: () => [], nextTurn: () => [] }]),
];

/** Waits for what a call returned, where it is to be waited for. */
async function settled(result: unknown): Promise<void> {
  const task = result as { promise?: Promise<unknown> } | undefined;
  await (task?.promise instanceof Promise ? task.promise : result);
}

/** The same for the addon, which passes on what JavaScript throws when a caller's object is read, and codes of its own. */
async function nativeSettled(call: Call, random: Random): Promise<void> {
  try {
    await settled(call(random));
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown };
    if (/^ERR_LONGVLM_CUDA/.test(String(code)) || /has been revoked|incompatible receiver/.test(String(message)))
      return;
    throw error;
  }
}

const limits = { batch: 2000, seconds: 10, megabytes: 1500, share: 1, argumentErrors: true } as const;

export const callTargets: readonly Target[] = [
  { ...limits, name: 'native', run: (_, random) => nativeSettled(random.pick(nativeCalls), random) },
  { ...limits, name: 'arguments', run: (_, random) => settled(random.pick(publicCalls)(random)) },
];
