import { LongVLMError } from '../base/errors.js';
import { widened } from '../base/largeTensor.js';
import type { OnProgress } from '../base/progress.js';
import { type Float32Tensor, float32Tensor, type Tensor, type TensorType, toFloat32 } from '../base/tensor.js';
import { toEightBits } from '../cache/eightBitMatrices.js';
import { type GuardedFingerprint, guardedFingerprint } from '../cache/fingerprint.js';
import { checkHalfRange } from '../cache/halfRange.js';
import {
  type DeviceWork,
  type GraphSession,
  type OpenGraphOptions,
  ortRuntime,
  type Runtime,
} from '../compute/runtime.js';
import { wideningGraph } from '../compute/widening.js';
import { readFloatTensor } from '../files/tensorFile.js';
import type { DeviceBuffer } from '../kernels/index.js';
import { cpuBatch, gpuBatch } from './batch.js';
import { openTower } from './families.js';
import { shapeOfCells, squareShape } from './frameShape.js';
import { checkPixelRules } from './pixels.js';
import type { VisionPrecision } from './precision.js';
import type { FrameShape, ShownVideo, TowerSource, VisionConfig } from './source.js';

/** Options of {@link Tower.open}. */
export type TowerOptions = {
  readonly path: string;
  readonly precision: VisionPrecision;
  readonly device: string;
  readonly threads?: number | undefined;
  readonly lazy: boolean;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
};

/** The outputs of a tower for n frames, or n steps where it takes several frames as one. */
export type TowerOutput = {
  /** [n, N, C]. */
  readonly patches: Float32Tensor;
  /** [n, summaries, C], earliest layer first; undefined if the tower has none. */
  readonly summaries: Float32Tensor | undefined;
  /** [n, N], where it was asked for. */
  readonly attention?: Float32Tensor | undefined;
};

/** Opens graphs beside that for frames. */
type OpenGraphs = {
  /** For normalised pixels. */
  readonly pixels: () => Promise<GraphSession>;
  /** For frames, with attention among its outputs. */
  readonly attending: () => Promise<FramesGraph>;
  readonly widening: () => Promise<GraphSession>;
};

type FramesGraph = { readonly session: GraphSession; readonly outputType: TensorType };

/** Frames and what a tower makes of them, in the memory of its GPU. */
export type TowerBuffers = {
  /** RGB, bytes: [n, height, width, 3], or [n, frames of a step, height, width, 3]. */
  readonly pixels: DeviceBuffer;
  /** As in {@link TowerOutput}. */
  readonly patches: DeviceBuffer;
  readonly summaries?: DeviceBuffer;
  /** Once {@link Tower.attend} was called. */
  readonly attention?: DeviceBuffer;
};

// 8 GiB as float32.
const mostValues = 2 ** 31;

type RunOptions = {
  readonly move?: boolean;
  readonly shape?: FrameShape;
  readonly attention?: boolean;
  readonly signal?: AbortSignal | undefined;
};

/** A vision tower of any family, and the graphs that it runs. */
export class Tower {
  readonly config: VisionConfig;
  readonly details: TowerSource['details'];
  readonly patchStates: TowerSource['patchStates'];
  readonly projection: TowerSource['projection'];
  readonly template: TowerSource['template'];
  /** The embedding [d] that stands once behind all tokens of a video, where there is one. */
  readonly ending: Float32Array | undefined;
  readonly precision: VisionPrecision;
  /** A fingerprint: equal for the same weights, configuration and precision, different for others. */
  readonly identity: string;
  /** The type of what {@link encodeOnGpu} gives. */
  readonly outputType: TensorType;
  readonly #attentionIdentity: () => Promise<string>;
  readonly #sizeOf: TowerSource['sizeOf'];
  readonly #open: OpenGraphs;
  #frames: GraphSession;
  readonly #weights: GuardedFingerprint;
  /** The graph for normalised pixels, created on first use. */
  #pixels: Promise<GraphSession> | undefined;
  /** From when on the graph for frames gives attention, too. */
  #attending: Promise<void> | undefined;
  #spare: Float32Array = new Float32Array(0);

  private constructor(
    source: TowerSource,
    precision: VisionPrecision,
    weights: GuardedFingerprint,
    open: OpenGraphs,
    { session, outputType }: FramesGraph,
    ending: Float32Array | undefined,
  ) {
    this.config = source.config;
    this.details = source.details;
    this.patchStates = source.patchStates;
    this.projection = source.projection;
    this.template = source.template;
    this.#sizeOf = source.sizeOf?.bind(source);
    this.ending = ending;
    this.precision = precision;
    this.identity = weights.key;
    this.#weights = weights;
    this.#attentionIdentity = once(async () => {
      const { attentionTensors = [] } = source;
      if (attentionTensors.length === 0) return weights.key;
      return (await guardedFingerprint('attention', attentionTensors)).key;
    });
    this.#open = open;
    this.#frames = session;
    this.outputType = outputType;
  }

  /**
   * Checks configuration and weights, and starts the tower unless it is lazy.
   * @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS`, `ERR_LONGVLM_UNSUPPORTED` (another kind of model, or a
   *   device that is not there), `ERR_LONGVLM_INFERENCE`; `signal.reason`
   */
  static async open(options: TowerOptions): Promise<Tower> {
    const { path, precision, threads, lazy, onProgress, signal } = options;
    const device = deviceFor(precision, options.device);
    const source = await openTower(path, { signal, onProgress });
    checkPixelRules(path, source.config);
    checkPrecision(path, precision, source);
    const { description, tensors, config } = source;
    const isHalf = precision === 'float16';
    const rounded = precision === 'int8' ? await toEightBits(source.linear, path, { signal, onProgress }) : undefined;
    const identified = { ...(description as object), precision, ...(rounded && { roundedBy: 'token' }) };
    const runtime: Runtime = ortRuntime({ device, ...(threads !== undefined && { threads }) });
    const opening = {
      name: 'The vision tower',
      batch: cpuBatch(config, source.projection !== undefined),
      gpuBatch: gpuBatch(squareShape(config), precision),
    };
    const graphOf = (input: 'float32' | 'uint8', attention?: boolean) =>
      source.graph({ input, eightBits: rounded, ...(isHalf && { precision }), ...(attention && { attention }) });
    const framesGraph = async (attention: boolean, starting: OpenGraphOptions): Promise<FramesGraph> => {
      const model = await graphOf('uint8', attention);
      // What reads them there takes half the time. On the host they would have to be widened.
      const half = device.startsWith('cuda') ? model.halfOutputs : undefined;
      const session = await runtime.open(half ?? model, starting);
      return { session, outputType: half ? 'float16' : 'float32' };
    };
    const open: OpenGraphs = {
      attending: () => framesGraph(true, { ...opening, lazy: true }),
      pixels: async () => runtime.open(await graphOf('float32'), { ...opening, lazy: true }),
      widening: async () => runtime.open(await wideningGraph(config.channels), { name: 'Widening', lazy: true }),
    };
    // Both read all of the weights: one of the two is free.
    const identity = guardedFingerprint(precision === 'float32' ? description : identified, tensors, signal);
    identity.catch(() => {});
    const frames = await framesGraph(false, { ...opening, lazy, ...(signal && { signal }) });
    try {
      const weights = await identity;
      if (isHalf) await checkHalfRange(tensors, weights, signal);
      const ending = source.projection?.ending && toFloat32(await readFloatTensor(source.projection.ending)).data;
      if (ending) await weights.check();
      if (!lazy) await weights.checkUsed(true);
      return new Tower(source, precision, weights, open, frames, ending);
    } catch (error) {
      await frames.session.dispose();
      throw error;
    }
  }

  /** ONNX Runtime's execution provider that the tower runs on; undefined before it is started. */
  get device(): string | undefined {
    return this.#frames.device;
  }

  get disposed(): boolean {
    return this.#frames.disposed;
  }

  /** Frames that are one step, whose tokens belong to all of them. */
  get framesPerStep(): number {
    return this.config.framesPerStep ?? 1;
  }

  /**
   * A fingerprint of what attention depends on beside {@link identity}.
   *  LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS`
   */
  attentionIdentity(): Promise<string> {
    return this.#attentionIdentity();
  }

  /**
   * The shape that a video's frames get, and the tokens that come of a step of them.
   * @throws LongVLMError `ERR_LONGVLM_VIDEO` for a video that a tower of any size has no size for
   */
  shapeOf(video: ShownVideo): FrameShape {
    return this.#sizeOf ? shapeOfCells(this.config, this.#sizeOf(video)) : squareShape(this.config);
  }

  /** The shape that frames had which became a grid of tokens; undefined where no grid is known of a tower of any size. */
  shapeOfGrid(grid: { readonly rows: number; readonly columns: number } | undefined): FrameShape | undefined {
    const { cell } = this.config;
    if (!cell) return squareShape(this.config);
    return grid && shapeOfCells(this.config, { width: grid.columns * cell.pixels, height: grid.rows * cell.pixels });
  }

  /**
   * @param frames RGB [frames, height, width, 3], whole steps, at least one
   * @param options `move`: transfers the frames' buffer (detaching it) instead of copying it. `shape`: of the frames, for a
   *   tower of any size. `attention`: is given, too, by a tower whose configuration names it
   * @throws LongVLMError `ERR_LONGVLM_DISPOSED`, `ERR_LONGVLM_INFERENCE`; `signal.reason`
   */
  async encodeFrames(frames: Uint8Array, options: RunOptions = {}): Promise<TowerOutput> {
    const { framesPerStep } = this;
    const { width, height } = options.shape ?? squareShape(this.config);
    const step = framesPerStep > 1 ? [framesPerStep, height, width, 3] : [height, width, 3];
    const dims = [frames.length / step.reduce((product, size) => product * size), ...step];
    if (options.attention) await this.attend();
    return this.#run(this.#frames, { type: 'uint8', data: frames, dims }, options);
  }

  /**
   * The number of the GPU that {@link encodeOnGpu} works on, once the tower is started; undefined where it runs elsewhere.
   * @throws as {@link encodeFrames}
   */
  async gpu(signal: AbortSignal | undefined): Promise<number | undefined> {
    const starts = this.#frames.device === undefined;
    const gpu = await this.#frames.gpu(signal);
    await this.#weights.checkUsed(starts);
    return gpu;
  }

  /**
   * Runs frames in the memory of its GPU, where the outputs stay.
   * @param work before and after
   * @throws as {@link encodeFrames}; LongVLMError `ERR_LONGVLM_CUDA_OOM`, `ERR_LONGVLM_NOT_FINITE`
   */
  async encodeOnGpu(
    { pixels, ...outputs }: TowerBuffers,
    work: DeviceWork,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const starts = this.#frames.device === undefined;
    await this.#frames.run({ pixels }, outputs, { work, signal });
    await this.#weights.checkUsed(starts);
  }

  /** Makes float32 [rows, C] of float16 ones on the GPU. Throws as {@link encodeOnGpu}. */
  async widenOnGpu(halves: DeviceBuffer, values: DeviceBuffer, signal: AbortSignal | undefined): Promise<void> {
    const session = await this.#open.widening();
    try {
      await session.run({ halves }, { values }, { signal });
    } finally {
      await session.dispose();
    }
  }

  /**
   * @param pixels normalised [n, 3, S, S], or what {@link TowerSource.graph} takes as `float32` for a tower of any size; n at
   *   least 1
   * @param options `shape`: as for {@link encodeFrames}, and it throws as that
   */
  async encodePixels(pixels: Float32Tensor, options: Omit<RunOptions, 'move'>): Promise<TowerOutput> {
    this.#pixels ??= this.#open.pixels().catch((error: unknown) => {
      // The next call retries.
      this.#pixels = undefined;
      throw error;
    });
    return this.#run(await this.#pixels, pixels, options);
  }

  /** Reuses the memory of patches that are no longer needed for the next ones. */
  reuse(patches: Float32Tensor): void {
    this.#spare = patches.data;
  }

  /** Frees the tower once running calls are done; the next call starts it again. */
  async release(): Promise<void> {
    this.#spare = new Float32Array(0);
    await Promise.all([this.#frames.release(), this.#pixels?.then((session) => session.release())]);
    // A call that was running may have put its memory back.
    this.#spare = new Float32Array(0);
  }

  /** Waits for running calls, then frees the tower. Safe to call twice. */
  async dispose(): Promise<void> {
    const disposed = Promise.all([this.#frames.dispose(), this.#pixels?.then((session) => session.dispose())]);
    // A graph that was to take the place of the one before is disposed where it is opened.
    await this.#attending?.catch(() => {});
    await disposed;
  }

  /**
   * Lets the graph for frames give attention from now on, in place of the one that does not: weights are in memory once. What else
   * it gives stays the same. For a tower whose configuration names it.
   */
  attend(): Promise<void> {
    this.#attending ??= (async () => {
      const before = this.#frames;
      const { session } = await this.#open.attending();
      // Of a tower that was disposed meanwhile the old one says so.
      if (before.disposed) return await session.dispose();
      this.#frames = session;
      await before.dispose();
    })().catch((error: unknown) => {
      this.#attending = undefined;
      throw error;
    });
    return this.#attending;
  }

  async #run(
    session: GraphSession,
    pixels: Parameters<GraphSession['run']>[0][string],
    { shape = squareShape(this.config), attention: attends = false, ...options }: RunOptions,
  ): Promise<TowerOutput> {
    const { channels, summaries: layers } = this.config;
    const { patches: count } = shape;
    const frames = pixels.dims[0]!;
    const type = session === this.#frames ? this.outputType : 'float32';
    const outputs: { patches: Tensor; summaries?: Tensor; attention?: Tensor } = {
      patches: this.#empty(type, [frames, count, channels], this.#spare),
      ...(layers > 0 && { summaries: this.#empty(type, [frames, layers, channels]) }),
      ...(attends && { attention: this.#empty(type, [frames, count]) }),
    };
    this.#spare = new Float32Array(0);
    const starts = session.device === undefined;
    const { patches, summaries, attention } = await session.run({ pixels }, outputs, options);
    await this.#weights.checkUsed(starts);
    return {
      patches: await widened(patches),
      summaries: summaries && (await widened(summaries)),
      ...(attention && { attention: await widened(attention) }),
    };
  }

  #empty(type: TensorType, dims: readonly number[], spare?: Float32Array): Tensor {
    const values = dims.reduce((product, size) => product * size, 1);
    if (values > mostValues)
      throw new LongVLMError(
        'ERR_LONGVLM_UNSUPPORTED',
        `The vision tower would give [${dims.join(', ')}] values at once, above ${mostValues}. Take fewer frames in a segment, or another tower.`,
      );
    if (type === 'float16') return { type, data: new Uint16Array(values), dims };
    return float32Tensor(spare?.length === values ? spare : new Float32Array(values), dims);
  }
}

/** What is made with the first call; one that failed is tried again. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
}

/** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for a device that cannot run a graph of this precision by itself */
function deviceFor(precision: VisionPrecision, device: string): string {
  if (precision !== 'int8') return device;
  if (device.startsWith('cuda'))
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      'Precision int8 does not run on cuda: its products would go back to the CPU. Use float16 there, or device cpu.',
    );
  return device === 'auto' ? 'cpu' : device;
}

/** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` */
function checkPrecision(path: string, precision: VisionPrecision, source: TowerSource): void {
  const { precisions = ['float32', 'int8'] } = source;
  if (precisions.includes(precision)) return;
  throw new LongVLMError(
    'ERR_LONGVLM_UNSUPPORTED',
    `${path}: a tower of its family is not computed in ${precision}. Use ${precisions.join(' or ')}.`,
  );
}
