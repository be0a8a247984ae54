import { types } from 'node:util';
import { withCallbacks } from '../base/callbacks.js';
import { LongVLMError } from '../base/errors.js';
import type { OnProgress } from '../base/progress.js';
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import {
  checkFloat32Tensor,
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  checkSignal,
  checkString,
  isArray,
  wrongType,
  wrongValue,
} from '../base/validate.js';
import { mergeBySchedule } from '../reduce/merge.js';
import { type Reducer, reducesVideos, type VideoReducer } from '../reduce/reducer.js';
import { checkReduction, makeReducer, type Reduction } from '../reduce/reducers.js';
import { shapeOfCells, squareShape } from '../tower/frameShape.js';
import { type VisionPrecision, visionPrecisions } from '../tower/precision.js';
import type { FrameShape, FrameSize, TowerSource, VisionConfig } from '../tower/source.js';
import { Tower } from '../tower/tower.js';
import { defaultSampling } from './sampling.js';
import { copyLastLayers, encodeSegment } from './segment.js';

/** Options of {@link VisionEncoder.create}. */
export type VisionEncoderOptions = {
  /** The tower: a Hugging Face folder (config.json, model.safetensors), the .safetensors file in one, or an mmproj .gguf file. */
  readonly path: string;
  /**
   * How many of the last hidden states' class tokens are returned (E), from 0 to as many as the tower has. Defaults to `5`, or
   * to as many as the tower has if that is less.
   */
  readonly globalLayers?: number;
  /** Precision of the tower. Defaults to `float32`. */
  readonly precision?: VisionPrecision;
  /** `cpu`, `auto` (a GPU that works, else the CPU) or an execution provider of ONNX Runtime: `cuda`, `cuda:1` for the second GPU. Defaults to `cpu`. */
  readonly device?: string;
  /** Threads on the CPU. Defaults to the number of cores. */
  readonly threads?: number;
  /** Starts the tower with the first call. Defaults to `false`. */
  readonly lazy?: boolean;
  /** Called while weights are written out in another type. */
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal | null;
};

/** Options of {@link VisionEncoder.encodeSegment}; exactly one of `tokensPerSegment` and `schedule`. */
export type EncodeSegmentOptions = {
  /** Tokens to keep (M). */
  readonly tokensPerSegment?: number;
  /** How many tokens each step merges away; for `merge` only. */
  readonly schedule?: readonly number[];
  /** How the patches are reduced: see {@link SamplingRequest.reduction}. Defaults to the tower's own, which is `merge` for most. */
  readonly reduction?: Reduction | Reducer;
  /** Groups of channels: tokens are compared by their mean over the groups. Defaults to the tower's attention heads. */
  readonly heads?: number;
  /** How many of the last hidden states' class tokens are returned (E). Defaults to the encoder's `globalLayers`. */
  readonly globalLayers?: number;
  /** For a tower of any size: width and height of the frames in pixels, whole cells. */
  readonly size?: FrameSize;
  /** Transfers the frames' buffer instead of copying it, which detaches it. Defaults to `false`. */
  readonly transfer?: boolean;
  readonly signal?: AbortSignal | null;
};

/** A segment of K frames, its patches merged or otherwise reduced. */
export type EncodedSegment = {
  /** [M, C]. */
  readonly local: Float32Tensor;
  /** [M], patches in each token: those that were averaged, or 1 where they were picked. */
  readonly sizes: Float32Tensor;
  /** [M], ascending: which of all K·N patches each token is, where tokens were picked and not averaged. */
  readonly positions?: Int32Array;
  /** [K, E, C], oldest layer first. */
  readonly cls: Float32Tensor;
};

/**
 * A vision tower in a worker thread, over weights in place, for frames and segments that you provide.
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
  /** How many of the last hidden states' class tokens are returned: E. */
  readonly globalLayers: number;
  readonly #tower: Tower;

  private constructor(tower: Tower, globalLayers: number) {
    this.#tower = tower;
    this.globalLayers = globalLayers;
  }

  /**
   * Checks configuration and weights, and starts the tower.
   *
   * @throws TypeError or RangeError for a wrong option; LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS`,
   * `ERR_LONGVLM_UNSUPPORTED` (another kind of model, or a device that is not there), `ERR_LONGVLM_INFERENCE`;
   * `signal.reason`.
   */
  static create(options: VisionEncoderOptions): Promise<VisionEncoder> {
    return withCallbacks(
      options,
      ['onProgress'],
      (guarded) => VisionEncoder.#create(guarded),
      (encoder) => encoder.dispose(),
    );
  }

  static async #create(options: VisionEncoderOptions): Promise<VisionEncoder> {
    checkObject('options', options);
    const path = checkString('path', options.path);
    const { globalLayers } = options;
    if (globalLayers !== undefined) checkInteger('globalLayers', globalLayers, 0);
    const precision = checkOneOf('precision', options.precision ?? 'float32', visionPrecisions);
    const device = checkString('device', options.device ?? 'cpu');
    const threads = options.threads === undefined ? undefined : checkInteger('threads', options.threads, 1);
    const lazy = options.lazy ?? false;
    if (typeof lazy !== 'boolean') wrongType('lazy', 'boolean', lazy);
    const { onProgress } = options;
    if (onProgress !== undefined) checkFunction('onProgress', onProgress);
    const signal = checkSignal(options.signal);
    signal?.throwIfAborted();
    const tower = await Tower.open({ path, precision, device, threads, lazy, onProgress, signal });
    try {
      const { summaries } = tower.config;
      const layers = globalLayers ?? Math.min(defaultSampling.globalLayers, summaries);
      return new VisionEncoder(tower, checkInteger('globalLayers', layers, 0, summaries));
    } catch (error) {
      await tower.dispose();
      throw error;
    }
  }

  /** Input and output sizes of the tower. */
  get config(): VisionConfig {
    return this.#tower.config;
  }

  /** Further properties of the tower by name, such as `layers`. */
  get details(): TowerSource['details'] {
    return this.#tower.details;
  }

  /**
   * A fingerprint of the tower: equal for the same weights and configuration, different for others. Names of tensors and
   * files do not matter; the element type does.
   */
  get identity(): string {
    return this.#tower.identity;
  }

  /** ONNX Runtime's execution provider that the tower runs on: `cpu`, `cuda` and so on; undefined before the tower is started. */
  get device(): string | undefined {
    return this.#tower.device;
  }

  /**
   * Runs the tower alone, on pixels that you normalised. The first call creates a separate graph, which takes memory for the
   * weights again, in addition to the graph of {@link encodeSegment}.
   *
   * @param pixels normalised, float32 [n, 3, S, S], n at least 1.
   * @returns patches [n, N, C]; cls [n, E, C], the class token of the last E hidden states, earliest layer first.
   * @throws TypeError or RangeError for wrong pixels; LongVLMError `ERR_LONGVLM_UNSUPPORTED` for a tower of any size,
   * `ERR_LONGVLM_DISPOSED`, `ERR_LONGVLM_INFERENCE`; `signal.reason`.
   */
  async forward(
    pixels: Float32Tensor,
    options: { readonly signal?: AbortSignal | null } = {},
  ): Promise<{ patches: Float32Tensor; cls: Float32Tensor }> {
    const { imageSize, cell } = this.config;
    if (cell)
      throw new LongVLMError(
        'ERR_LONGVLM_UNSUPPORTED',
        'forward() takes square frames, and this vision tower takes frames of any size. Use projectFrames() with a grid.',
      );
    const given = checkFloat32Tensor('pixels', pixels, ['frames', 3, imageSize, imageSize]);
    checkInteger('pixels.dims[0]', given.dims[0], 1);
    const signal = checkSignal(checkObject('options', options).signal);
    this.#checkUsable();
    const { patches, summaries } = await this.#tower.encodePixels(given, { signal });
    return { patches, cls: this.#lastLayers(summaries, this.globalLayers, patches.dims[0]!) };
  }

  /**
   * Encodes the frames of one segment and reduces their K·N patches.
   *
   * @param frames RGB [K, S, S, 3], K at least 1; for a tower of any size [K, height, width, 3]. Where the tower takes several
   * frames as one step, whole steps.
   * @throws TypeError or RangeError for a wrong argument; LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tower outputs NaN
   * or infinity, `ERR_LONGVLM_DISPOSED`, `ERR_LONGVLM_INFERENCE`; `signal.reason`.
   */
  async encodeSegment(frames: Uint8Array, options: EncodeSegmentOptions): Promise<EncodedSegment> {
    const { channels, summaries: most } = this.config;
    const { framesPerStep } = this.#tower;
    if (!types.isUint8Array(frames)) wrongType('frames', 'Uint8Array', frames);
    checkObject('options', options);
    const shape = this.#shapeOf(options.size);
    const { patches, grid } = shape;
    const stepBytes = framesPerStep * shape.width * shape.height * 3;
    const step = `${framesPerStep > 1 ? `${framesPerStep} frames of ` : ''}${shape.width}x${shape.height} RGB`;
    if (frames.length === 0 || frames.length % stepBytes !== 0)
      wrongValue('frames.length', `positive multiple of ${stepBytes} (${step})`, frames.length);
    const heads = checkInteger('heads', options.heads ?? this.config.heads, 1);
    if (channels % heads !== 0) wrongValue('heads', `divisor of the ${channels} channels`, heads);
    const count = frames.length / stepBytes;
    const reducer = reducerOf(options, this.config.reduction, heads, count * patches);
    if (reducer.stage === 'projector')
      throw new TypeError(
        'Expected a reducer that stands before the projector for reduction but received one behind it',
      );
    reducer.check({ frames: count, patches, grid, channels });
    const globalLayers = checkInteger('globalLayers', options.globalLayers ?? this.globalLayers, 0, most);
    const signal = checkSignal(options.signal);
    this.#checkUsable();
    const { local, sizes, positions, summaries } = await encodeSegment(
      { tower: this.#tower, shape, reducer, projector: undefined },
      frames,
      { move: options.transfer ?? false, signal },
    );
    return {
      ...{ local, sizes, cls: this.#lastLayers(summaries, globalLayers, count) },
      ...(positions && { positions }),
    };
  }

  /** Frees the tower once running calls are done; the next call starts it again. */
  release(): Promise<void> {
    return this.#tower.release();
  }

  get disposed(): boolean {
    return this.#tower.disposed;
  }

  /** Waits for running calls, then frees the tower and stops its thread. Safe to call twice. */
  dispose(): Promise<void> {
    return this.#tower.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #lastLayers(summaries: Float32Tensor | undefined, layers: number, frames: number): Float32Tensor {
    const { channels } = this.config;
    const cls = float32Tensor(new Float32Array(frames * layers * channels), [frames, layers, channels]);
    if (summaries && layers > 0) copyLastLayers(summaries, layers, cls.data);
    return cls;
  }

  #shapeOf(size: FrameSize | undefined): FrameShape {
    if (this.config.cell)
      return shapeOfCells(this.config, size ?? wrongType('size', 'object, as the vision tower takes any size,', size));
    if (size !== undefined) wrongType('size', 'nothing, as the vision tower takes frames of one size,', size);
    return squareShape(this.config);
  }

  #checkUsable(): void {
    if (this.disposed) throw new LongVLMError('ERR_LONGVLM_DISPOSED', 'The vision tower was disposed. Load it again.');
  }
}

/** Creates and checks the reducer before the tower runs, which takes seconds. */
function reducerOf(options: EncodeSegmentOptions, own = 'merge', heads: number, tokens: number): Reducer {
  const { tokensPerSegment, schedule } = options;
  const reduction = checkReduction(options.reduction ?? (schedule === undefined ? own : 'merge'));
  if (typeof reduction === 'object') return ofSegments(reduction);
  if ((tokensPerSegment === undefined) === (schedule === undefined))
    throw new TypeError('Expected one of tokensPerSegment and schedule in options but received both or neither');
  if (schedule === undefined) {
    const keep = checkInteger('tokensPerSegment', tokensPerSegment, 1, tokens);
    return ofSegments(makeReducer(reduction, { tokensPerSegment: keep, mergeHeads: heads }));
  }
  if (reduction !== 'merge') wrongValue('reduction, as a schedule is given', "'merge'", reduction);
  if (!isArray(schedule)) wrongType('schedule', 'array of integers', schedule);
  for (const [index, r] of schedule.entries()) checkInteger(`schedule[${index}]`, r, 0);
  return mergeBySchedule(schedule, heads);
}

function ofSegments(reducer: Reducer | VideoReducer): Reducer {
  if (!reducesVideos(reducer)) return reducer;
  throw new TypeError(
    `Expected a reducer of segments for reduction but received '${reducer.name}', which takes whole videos: give it to a VideoEncoder`,
  );
}
