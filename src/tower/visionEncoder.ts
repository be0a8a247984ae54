import { elementCount, type Float32Tensor, float32Tensor } from '../base/tensor.js';
import {
  checkInteger,
  checkObject,
  checkOneOf,
  checkSignal,
  checkString,
  checkTensor,
  wrongType,
  wrongValue,
} from '../base/validate.js';
import { toEightBits } from '../cache/eightBitMatrices.js';
import { type GraphSession, workerRuntime } from '../compute/runtime.js';
import { fingerprint } from '../files/tensorFingerprint.js';
import { mergeTokens } from '../kernels/index.js';
import { type Reduction, reduceTokens, reductions } from '../reduce/reduceTokens.js';
import type { VisionConfig } from './clip/huggingFaceConfig.js';
import { linearMatricesOf, tensorsOf } from './clip/huggingFaceTower.js';
import { buildTower, type VisionPrecision, visionPrecisions } from './clip/towerGraph.js';
import { normalizationTables, normalizeFrames } from './preprocess.js';
import { openTower } from './source.js';

/** Options of {@link VisionEncoder.create}. */
export type VisionEncoderOptions = {
  /** A Hugging Face CLIP folder (config.json, model.safetensors), the .safetensors file in one, or an mmproj .gguf file. */
  readonly path: string;
  /** Last hidden states whose first token is given (E), from 1 to the tower's layers + 1. Defaults to `5`. */
  readonly globalLayers?: number;
  /** What the linear layers are computed in. Defaults to `float32`. */
  readonly precision?: VisionPrecision;
  /** `cpu`, `auto` (a GPU that works, else the CPU) or an execution provider of ONNX Runtime. Defaults to `cpu`. */
  readonly device?: string;
  /** Threads on the CPU. Defaults to the machine's cores. */
  readonly threads?: number;
  /** Starts the tower with the first call, which may never come where features are kept. Defaults to `false`. */
  readonly lazy?: boolean;
  readonly signal?: AbortSignal;
};

/** Options of {@link VisionEncoder.encodeSegment}; exactly one of `tokensPerSegment` and `schedule`. */
export type EncodeSegmentOptions = {
  /** Tokens to keep (M). */
  readonly tokensPerSegment?: number;
  /** Tokens merged away at each step; for `merge` only. */
  readonly schedule?: readonly number[];
  /** How the patches become few: see {@link LongVLMOptions.reduction}. Defaults to `merge`. */
  readonly reduction?: Reduction;
  /** Groups of channels whose mean is compared. Defaults to the tower's attention heads. */
  readonly heads?: number;
  /** Hands the frames' buffer over instead of copying it: it is detached afterwards. Defaults to `false`. */
  readonly transfer?: boolean;
  readonly signal?: AbortSignal;
};

/** A segment of K frames, its patches merged or otherwise reduced. */
export type EncodedSegment = {
  /** [M, C]. */
  readonly local: Float32Tensor;
  /** [M], patches in each token: those that were averaged, or 1 where they were picked. */
  readonly sizes: Float32Tensor;
  /** [K, E, C], oldest layer first. */
  readonly cls: Float32Tensor;
};

// Of ViT-L two frames at a time are as fast as ten: products of some hundred rows already fill the cores. More only takes
// memory, and lengthens the time until an abort takes effect.
const batchTokens = 512;

/**
 * A CLIP vision tower in a worker thread, over the weights where they lie.
 *
 * @example
 * ```ts
 * const encoder = await VisionEncoder.create({ path: 'clip-vit-large-patch14' });
 * try {
 *   const { local, cls } = await encoder.encodeSegment(frames, { tokensPerSegment: 30 });
 * } finally {
 *   await encoder.dispose();
 * }
 * ```
 */
export class VisionEncoder {
  readonly config: VisionConfig;
  /** Last hidden states whose first token is given: E. */
  readonly globalLayers: number;
  /**
   * A fingerprint of the tower: equal for the same weights and configuration wherever they lie, different for others.
   * Names of tensors and files do not count; the element type does.
   */
  readonly identity: string;
  readonly #graph: GraphSession;

  private constructor(config: VisionConfig, globalLayers: number, identity: string, graph: GraphSession) {
    this.config = config;
    this.globalLayers = globalLayers;
    this.identity = identity;
    this.#graph = graph;
  }

  /**
   * Checks configuration and weights, and starts the tower.
   *
   * @throws TypeError or RangeError for a wrong option; LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS`,
   * `ERR_LONGVLM_UNSUPPORTED` (another kind of model, or a device that is not there), `ERR_LONGVLM_INFERENCE`;
   * `signal.reason`.
   */
  static async create(options: VisionEncoderOptions): Promise<VisionEncoder> {
    checkObject('options', options);
    const path = checkString('path', options.path);
    const globalLayers = checkInteger('globalLayers', options.globalLayers ?? 5, 1);
    const precision = checkOneOf('precision', options.precision ?? 'float32', visionPrecisions);
    const device = checkString('device', options.device ?? 'cpu');
    const threads = options.threads === undefined ? undefined : checkInteger('threads', options.threads, 1);
    const lazy = options.lazy ?? false;
    if (typeof lazy !== 'boolean') wrongType('lazy', 'boolean', lazy);
    const signal = checkSignal(options.signal);
    signal?.throwIfAborted();

    const { config, weights } = await openTower(path, signal);
    checkInteger('globalLayers', globalLayers, 1, config.layers + 1);
    const { resize: _, shortestEdge: __, ...description } = config;
    const eightBits = precision === 'int8' ? await toEightBits(linearMatricesOf(weights), path, { signal }) : undefined;
    const [identity, model] = await Promise.all([
      fingerprint(eightBits ? { ...description, precision, roundedBy: 'token' } : description, tensorsOf(weights)),
      buildTower(config, weights, globalLayers, eightBits),
    ]);
    const runtime = workerRuntime({ device, ...(threads !== undefined && { threads }) });
    const batch = Math.max(1, Math.floor(batchTokens / config.patches));
    const graph = await runtime.open(model, { name: 'The vision tower', batch, lazy, ...(signal && { signal }) });
    return new VisionEncoder(config, globalLayers, identity, graph);
  }

  /** ONNX Runtime's execution provider that the tower runs on: `cpu`, `cuda` and so on; undefined before it is started. */
  get device(): string | undefined {
    return this.#graph.device;
  }

  /**
   * Runs the tower alone.
   *
   * @param pixels normalised, float32 [n, 3, S, S], n at least 1.
   * @returns patches [n, N, C], hidden state {@link VisionConfig.patchLayer} without its first token; cls [n, E, C], the first token of the last E
   * hidden states, oldest layer first.
   * @throws TypeError or RangeError for wrong pixels; LongVLMError `ERR_LONGVLM_DISPOSED`, `ERR_LONGVLM_INFERENCE`;
   * `signal.reason`.
   */
  async forward(
    pixels: Float32Tensor,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<{ patches: Float32Tensor; cls: Float32Tensor }> {
    const { imageSize } = this.config;
    const { type, dims } = checkTensor('pixels', pixels, ['frames', 3, imageSize, imageSize]);
    if (type !== 'float32') wrongType('pixels.type', "'float32'", type);
    checkInteger('pixels.dims[0]', dims[0], 1);
    const signal = checkSignal(checkObject('options', options).signal);
    return this.#run(pixels, false, signal);
  }

  /**
   * Encodes the frames of one segment and reduces their K·N patches.
   *
   * @param frames RGB [K, S, S, 3], K at least 1.
   * @throws TypeError or RangeError for a wrong argument; LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tower gives NaN
   * or infinity, `ERR_LONGVLM_DISPOSED`, `ERR_LONGVLM_INFERENCE`; `signal.reason`.
   */
  async encodeSegment(frames: Uint8Array, options: EncodeSegmentOptions): Promise<EncodedSegment> {
    const { imageSize, patches, channels } = this.config;
    const frameBytes = imageSize * imageSize * 3;
    if (!(frames instanceof Uint8Array)) wrongType('frames', 'Uint8Array', frames);
    if (frames.length === 0 || frames.length % frameBytes !== 0)
      wrongValue('frames.length', `positive multiple of ${frameBytes} (${imageSize}x${imageSize} RGB)`, frames.length);
    checkObject('options', options);
    const heads = checkInteger('heads', options.heads ?? this.config.heads, 1);
    if (channels % heads !== 0) wrongValue('heads', `divisor of the ${channels} channels`, heads);
    const reduction = checkReduction(options, (frames.length / frameBytes) * patches);
    const signal = checkSignal(options.signal);
    const count = frames.length / frameBytes;
    const planes = new Float32Array(frames.length);
    normalizeFrames(frames, planes, imageSize, normalizationTables(this.config));
    if (options.transfer && frames.byteLength === frames.buffer.byteLength)
      structuredClone(frames.buffer, { transfer: [frames.buffer as ArrayBuffer] });
    const pixels = float32Tensor(planes, [count, 3, imageSize, imageSize]);
    const { patches: all, cls } = await this.#run(pixels, true, signal);
    const tokens = float32Tensor(all.data, [count * patches, channels]);
    const { how, keep, schedule } = reduction;
    if (how !== 'merge') {
      const reduced = reduceTokens(tokens, keep!, how);
      return { local: reduced.tokens, sizes: reduced.sizes, cls };
    }
    const merged = await mergeTokens(tokens, schedule ? { heads, schedule } : { heads, keep: keep! });
    return { local: merged.tokens as Float32Tensor, sizes: merged.sizes as Float32Tensor, cls };
  }

  /** Frees the tower once the calls under way are done; the next call starts it again. */
  release(): Promise<void> {
    return this.#graph.release();
  }

  get disposed(): boolean {
    return this.#graph.disposed;
  }

  /** Waits for the calls under way, then frees the tower and ends its thread. Safe to call twice. */
  dispose(): Promise<void> {
    return this.#graph.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #run(pixels: Float32Tensor, move: boolean, signal: AbortSignal | undefined) {
    const frames = pixels.dims[0]!;
    const { patches, channels } = this.config;
    const empty = (...dims: number[]) => float32Tensor(new Float32Array(elementCount(dims)), dims);
    const outputs = { patches: empty(frames, patches, channels), cls: empty(frames, this.globalLayers, channels) };
    const { patches: found, cls } = await this.#graph.run({ pixels }, outputs, { move, signal });
    return { patches: found!, cls: cls! };
  }
}

type SegmentReduction = { how: Reduction; keep?: number; schedule?: readonly number[] };

/** Checked here, so that a wrong option is found before the tower has run for seconds. */
function checkReduction(options: EncodeSegmentOptions, tokens: number): SegmentReduction {
  const { tokensPerSegment, schedule } = options;
  const how = checkOneOf('reduction', options.reduction ?? 'merge', reductions);
  if ((tokensPerSegment === undefined) === (schedule === undefined))
    throw new TypeError('Expected one of tokensPerSegment and schedule in options but received both or neither');
  if (schedule === undefined) {
    const keep = checkInteger('tokensPerSegment', tokensPerSegment, 1, tokens);
    return { how, keep };
  }
  if (how !== 'merge') wrongValue('reduction, as a schedule is given', "'merge'", how);
  if (!Array.isArray(schedule)) wrongType('schedule', 'array of integers', schedule);
  for (const [index, r] of schedule.entries()) checkInteger(`schedule[${index}]`, r, 0);
  return { how, schedule: schedule as readonly number[] };
}
