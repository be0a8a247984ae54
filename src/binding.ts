// Loads the native addon and declares its functions. No other file loads the .node file.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { types } from 'node:util';
import { listen } from './base/abort.js';
import { addonError, packageRoot } from './base/addonError.js';
import { LongVLMError, type LongVLMErrorCode, messageOf } from './base/errors.js';
import { onDisk } from './base/onDisk.js';
import { addonPackages, fileOfPackage } from './base/platformPackages.js';
import type {
  AllocateDeviceBufferArgs,
  NativeAimArgs,
  NativeAssignToAnchorsArgs,
  NativeDensityPeaksArgs,
  NativeDeviceBuffer,
  NativeEvsArgs,
  NativeFastVidArgs,
  NativeFlashVidArgs,
  NativeFrameMeansArgs,
  NativeGatherTokensArgs,
  NativeSegmentFramesArgs,
  NativeSelectDiverseArgs,
  NativeSelectTopKArgs,
  NativeSlotProductsArgs,
  NativeTemporalSimilarityArgs,
  NativeVCastArgs,
  NativeVidCom2Args,
  ViewDeviceBufferArgs,
} from './bindingReducers.js';

/** An array that is copied to or from a GPU. */
export type NativeArray = Float32Array | Uint16Array | Int32Array | Uint8Array;

export type { NativeDeviceBuffer };

/**
 * The values of a tensor: an array (float16 is a `Uint16Array`), or memory on a GPU. All tensors of one call are either on
 * the host or on the same GPU, and the work is done there. Native code checks this, and each tensor's element type and size.
 */
export type NativeTensor = NativeArray | NativeDeviceBuffer;

/** A shape as native code takes it: three axes, each at least 1. */
export type NativeDims = readonly [number, number, number];

/**
 * Work in progress on other threads. `cancel()` may be called at any time; `promise` then rejects soon after.
 * Until `promise` settles, the inputs are being read and the `out…` arrays are being written.
 */
export type NativeTask = { readonly promise: Promise<void>; cancel(): void };

/** A TokenMerger of native code. */
export type NativeTokenMerger = { readonly __brand: 'NativeTokenMerger' };

export type NativeMergeTokensArgs = {
  /** The merger whose scratch memory is used; undefined for the memory that this thread's calls share. Ignored on a GPU. */
  readonly merger: NativeTokenMerger | undefined;
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly heads: number;
  readonly schedule: readonly number[];
  readonly protect: number;
  /** float32 */
  readonly sizes: NativeTensor | undefined;
  readonly outTokens: NativeTensor;
  /** float32 */
  readonly outSizes: NativeTensor;
  /** int32 */
  readonly outAssignment: NativeTensor;
};

/** The outputs are int32; those without values may be undefined. */
export type NativeBipartiteSoftMatchingArgs = {
  readonly metric: NativeTensor;
  readonly dims: NativeDims;
  readonly r: number;
  readonly protect: number;
  readonly outUnmerged: NativeTensor | undefined;
  readonly outSource: NativeTensor | undefined;
  readonly outDestination: NativeTensor | undefined;
  readonly outAssignment: NativeTensor;
};

export type NativeMergeByAssignmentArgs = {
  readonly tensor: NativeTensor;
  readonly dims: NativeDims;
  readonly slots: number;
  /** int32 */
  readonly assignment: NativeTensor;
  /** float32 */
  readonly sizes: NativeTensor | undefined;
  readonly mean: boolean;
  readonly out: NativeTensor;
};

export type NativeSpreadByAssignmentArgs = {
  readonly tensor: NativeTensor;
  readonly dims: NativeDims;
  readonly rows: number;
  /** int32 */
  readonly assignment: NativeTensor;
  readonly out: NativeTensor;
};

export type NativeTokenMetricArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly heads: number;
  /** float32 */
  readonly out: NativeTensor;
};

export type NativePoolClsTokensArgs = {
  readonly cls: NativeTensor;
  readonly dims: NativeDims;
  readonly out: NativeTensor;
};

export type NativeRoundToEightBitsArgs = {
  /** Floats of `type` as they lie in a file, of `dims` [rows, outputs, inputs]: from row `first` on of a matrix [outputs, inputs]. */
  readonly rows: Uint8Array;
  readonly type: 'float32' | 'float16' | 'bfloat16';
  readonly dims: NativeDims;
  readonly first: number;
  /** [inputs, outputs], integers of 8 bits; the columns of `rows` are written. */
  readonly outValues: Uint8Array;
  /** [outputs]; those of `rows` are written, infinity for a row that holds it or NaN. */
  readonly outScales: Float32Array;
};

/** A GPU, as native code reports it. */
export type NativeCudaDevice = {
  readonly index: number;
  readonly name: string;
  readonly computeCapability: string;
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly emulated: boolean;
};

export type NativeEvaluateEmbeddingsArgs = {
  /** node-llama-cpp's AddonContext, and the context size that it reports. */
  readonly context: object;
  readonly contextSize: number;
  readonly sequence: number;
  /** Position of the first embedding. */
  readonly first: number;
  readonly count: number;
  readonly width: number;
  readonly embeddings: Float32Array;
  /** [count, 3] in time, height and width, from `first` on, for a model with 3 axes. Undefined: one after another. */
  readonly positions: Int32Array | undefined;
  /** Whether each embedding attends to those before it, else to all of them. */
  readonly causal: boolean;
};

/** What the model of a context takes. */
export type NativeEmbeddingsInput = {
  /** Width of an embedding, together with the rows for later layers. */
  readonly width: number;
  /** Positions of a token: 1, or 3 (M-RoPE). */
  readonly axes: number;
  /** The most embeddings that are evaluated at once. */
  readonly batchSize: number;
};

/** A session of ONNX Runtime on a thread of its own. */
export type NativeOrtSession = { readonly __brand: 'NativeOrtSession' };

/** ONNX Runtime's version, and its names of the execution providers that it was built with. */
export type NativeOrtLibrary = { readonly version: string; readonly providers: readonly string[] };

/** A session that is being loaded. Runs may be asked for at once. */
export type NativeOpening = NativeTask & { readonly session: NativeOrtSession };

export type NativeOpenOrtSessionArgs = {
  /** ONNX Runtime's library. */
  readonly library: string;
  /** An ONNX model; copied. */
  readonly model: Uint8Array;
  /** `cpu`, `cuda`, `dml`, or the name by which ONNX Runtime appends another execution provider. */
  readonly provider: string;
  /** The number of the GPU for `cuda`. */
  readonly gpu: number;
  /** The library of GPU kernels, where operands may be on that GPU. An emulation goes with provider `cpu`. */
  readonly kernels?: string | undefined;
  /** Keys and values that take turns. */
  readonly providerOptions: readonly string[];
  /** Keys and values that take turns. */
  readonly config: readonly string[];
  readonly threads: number;
};

/** An input, read in place, or an output, written in place, until the run has settled. */
export type NativeOperand = {
  readonly name: string;
  readonly type: 'float32' | 'float16' | 'uint8';
  readonly dims: readonly number[];
  readonly data: Float32Array | Uint16Array | Uint8Array | NativeDeviceBuffer;
};

/** A copy between a device buffer of the session's GPU and an array of its size. */
export type NativeTransfer = { readonly buffer: NativeDeviceBuffer; readonly data: NativeArray };

/** Work on the session's GPU, on the stream of the run. */
export type NativeDeviceOperation =
  | ({ readonly operation: 'mergeTokens' } & NativeMergeTokensArgs)
  | ({ readonly operation: 'poolClsTokens' } & NativePoolClsTokensArgs);

export type NativeRunOrtSessionArgs = {
  readonly session: NativeOrtSession;
  /** The first axis of each operand. */
  readonly rows: number;
  /** Rows that are run at once. */
  readonly batch: number;
  readonly inputs: readonly NativeOperand[];
  readonly outputs: readonly NativeOperand[];
  /** Before the run. The next three are for sessions with `kernels` only. */
  readonly uploads: readonly NativeTransfer[];
  /** Behind the run. */
  readonly operations: readonly NativeDeviceOperation[];
  /** In the end, when the GPU was waited for, once. */
  readonly downloads: readonly NativeTransfer[];
};

/** The functions of the native addon. Each takes one struct, and repeats the checks that guard memory. */
export type NativeBinding = {
  createTokenMerger(): NativeTokenMerger;
  /** Releases the merger's memory. The merger cannot be used afterwards. */
  disposeTokenMerger(args: { readonly merger: NativeTokenMerger }): void;
  mergeTokens(args: NativeMergeTokensArgs): NativeTask;
  mergeTokensSync(args: NativeMergeTokensArgs): void;
  tokenMetric(args: NativeTokenMetricArgs): NativeTask;
  bipartiteSoftMatching(args: NativeBipartiteSoftMatchingArgs): NativeTask;
  mergeByAssignment(args: NativeMergeByAssignmentArgs): NativeTask;
  spreadByAssignment(args: NativeSpreadByAssignmentArgs): NativeTask;
  poolClsTokens(args: NativePoolClsTokensArgs): NativeTask;
  evs(args: NativeEvsArgs): NativeTask;
  vCast(args: NativeVCastArgs): NativeTask;
  vidCom2(args: NativeVidCom2Args): NativeTask;
  fastVid(args: NativeFastVidArgs): NativeTask;
  flashVid(args: NativeFlashVidArgs): NativeTask;
  aim(args: NativeAimArgs): NativeTask;
  segmentFrames(args: NativeSegmentFramesArgs): NativeTask;
  frameMeans(args: NativeFrameMeansArgs): NativeTask;
  slotProducts(args: NativeSlotProductsArgs): NativeTask;
  temporalSimilarity(args: NativeTemporalSimilarityArgs): NativeTask;
  selectTopK(args: NativeSelectTopKArgs): NativeTask;
  gatherTokens(args: NativeGatherTokensArgs): NativeTask;
  assignToAnchors(args: NativeAssignToAnchorsArgs): NativeTask;
  densityPeaks(args: NativeDensityPeaksArgs): NativeTask;
  selectDiverse(args: NativeSelectDiverseArgs): NativeTask;
  roundToEightBits(args: NativeRoundToEightBitsArgs): NativeTask;
  /** The GPUs that the GPU kernel library in the file `library` finds. With `needsDriver`, it is opened only if a driver is installed. */
  cudaDevices(args: { readonly library: string; readonly needsDriver: boolean }): NativeCudaDevice[];
  allocateDeviceBuffer(args: AllocateDeviceBufferArgs): NativeDeviceBuffer;
  /** Part of a buffer; the memory stays until both are freed. */
  viewDeviceBuffer(args: ViewDeviceBufferArgs): NativeDeviceBuffer;
  /** Releases the buffer's memory once running work has finished. The buffer cannot be used afterwards. */
  freeDeviceBuffer(args: { readonly buffer: NativeDeviceBuffer }): void;
  uploadToDevice(args: { readonly buffer: NativeDeviceBuffer; readonly data: NativeArray }): NativeTask;
  downloadFromDevice(args: { readonly buffer: NativeDeviceBuffer; readonly out: NativeArray }): NativeTask;
  embeddingsInput(args: { readonly context: object; readonly contextSize: number }): NativeEmbeddingsInput;
  downloadFromDeviceSync(args: { readonly buffer: NativeDeviceBuffer; readonly out: NativeArray }): void;
  evaluateEmbeddings(args: NativeEvaluateEmbeddingsArgs): NativeTask;
  /** Opens ONNX Runtime's library, once in the process. */
  ortLibrary(args: { readonly library: string }): NativeOrtLibrary;
  /** Begins to load a model. */
  openOrtSession(args: NativeOpenOrtSessionArgs): NativeOpening;
  /** Runs a session after what was asked of it before. `cancel()` ends it in the middle. */
  runOrtSession(args: NativeRunOrtSessionArgs): NativeTask;
  /** Frees a session after what was asked of it before. */
  releaseOrtSession(args: { readonly session: NativeOrtSession }): NativeTask;
  /** Cancels all work of this thread's sessions, and frees them before it returns: for a process that exits. */
  endOrtSessions(): void;
  /** Whether the memory of a typed array over an ArrayBuffer stays during a task, also when the buffer is transferred away. */
  holdsMemory(): boolean;
  /** Gives memory that was freed back to the system, where the C library would keep it. */
  trimMemory(): NativeTask;
  /** The most threads of the kernels. */
  concurrency(): number;
  /** At most 1024, in the whole process; 0 for the default. */
  setConcurrency(args: { readonly threads: number }): void;
  /** The instruction set that the kernels use: `'portable'`, `'avx2'`, `'avxvnni'`, `'avx512'` or `'neon'`. */
  instructionSet(): string;
  /** The instruction sets that this CPU has, `portable` first. */
  instructionSets(): string[];
  /** Uses at most the instruction set `name` from now on, in the whole process. */
  setMaxInstructionSet(args: { readonly name: string }): void;
};

let loaded: NativeBinding | undefined;

/**
 * The native addon, loaded at the first call: from a build of this package, else from the package of the platform.
 *
 * `LONGVLM_ADDON`, the path of a .node file, replaces both.
 * @throws LongVLMError `ERR_LONGVLM_ADDON` when it cannot be loaded; the message lists all that was tried
 */
export function binding(): NativeBinding {
  loaded ??= load();
  return loaded;
}

/** Where the addon may be. */
type Place = { readonly name: string; readonly path: string | undefined };

function load(): NativeBinding {
  const root = packageRoot();
  const override = process.env.LONGVLM_ADDON;
  const require = createRequire(resolve(root ?? '', 'package.json'));
  const attempts: string[] = [];
  let cause: unknown;
  const places = override ? [file(resolve(override))] : [...buildsIn(root), ...addonPackages().map(inPackage)];
  for (const { name, path } of places) {
    if (path === undefined || !existsSync(path)) {
      attempts.push(`${name}: ${path === undefined ? 'not installed' : 'no such file'}`);
      continue;
    }
    try {
      return require(path) as NativeBinding;
    } catch (error) {
      cause ??= error;
      attempts.push(`${path}: ${messageOf(error)}`);
    }
  }
  throw addonError({ attempts, cause, root, overridden: Boolean(override) });
}

const file = (path: string): Place => ({ name: path, path });
const inPackage = (name: string): Place => ({
  name: `the package ${name}`,
  path: fileOfPackage(name, 'longvlm.node'),
});

/** Built by scripts/build-addon.mjs; by Ninja on Windows; a debug build. */
function buildsIn(root: string | undefined): Place[] {
  if (root === undefined) return [];
  return ['build/Release/longvlm.node', 'build/longvlm.node', 'build/Debug/longvlm.node'].map((path) =>
    file(onDisk(resolve(root, path))),
  );
}

const codes: ReadonlySet<string> = new Set<LongVLMErrorCode>([
  'ERR_LONGVLM_NOT_FINITE',
  'ERR_LONGVLM_CONTEXT_FULL',
  'ERR_LONGVLM_CUDA',
  'ERR_LONGVLM_CUDA_OOM',
]);

/** Converts an error of native code that has a LongVLM code to a {@link LongVLMError}; others are returned as they are. */
export function fromNative(error: unknown): unknown {
  // Under Jest, native code's errors are of another realm than this file.
  const code = types.isNativeError(error) ? (error as { code?: unknown }).code : undefined;
  if (!types.isNativeError(error) || typeof code !== 'string' || !codes.has(code)) return error;
  return new LongVLMError(code as LongVLMErrorCode, error.message, { cause: error });
}

/**
 * An input of the caller's, as other threads can read it whatever the caller does to its buffer meanwhile: its memory is held
 * where native code can, else copied. Shared memory stays by itself.
 * @throws TypeError for memory that can be resized: what is cut off is gone, whoever holds it
 */
export function nativeInput<T extends ArrayBufferView & { slice(): T }>(name: string, array: T): T {
  const { buffer } = array as { readonly buffer: { readonly resizable?: boolean } };
  if (buffer.resizable === true)
    throw new TypeError(`Expected ArrayBuffer of a fixed length for ${name}.buffer but received a resizable one`);
  return binding().holdsMemory() || types.isSharedArrayBuffer(buffer) ? array : array.slice();
}

/**
 * Waits for a native task, and cancels the task when `signal` aborts.
 *
 * Settles when native code no longer reads or writes the arrays. Rejects with `signal.reason` after an abort.
 */
export async function runNative(start: (native: NativeBinding) => NativeTask, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const task = start(binding());
  const unlink = listen(signal, () => task.cancel());
  try {
    await task.promise;
  } catch (error) {
    signal?.throwIfAborted();
    throw fromNative(error);
  } finally {
    unlink();
  }
  signal?.throwIfAborted();
}
