import { withCallbacks } from '../base/callbacks.js';
import { LongVLMError } from '../base/errors.js';
import type { OnProgress } from '../base/progress.js';
import { type Float32Tensor, float32Tensor, type Tensor, type TensorInput, toFloat32 } from '../base/tensor.js';
import {
  checkFunction,
  checkInteger,
  checkObject,
  checkSignal,
  checkString,
  checkTensor,
  wrongType,
} from '../base/validate.js';
import { type GuardedFingerprint, guardedFingerprint } from '../cache/fingerprint.js';
import { type DeviceWork, type GraphSession, ortRuntime } from '../compute/runtime.js';
import { DeviceBuffer } from '../kernels/index.js';
import type { ProjectorSource } from './family.js';
import { openProjector } from './registry.js';

/** Options of {@link Projector.load}. */
export type ProjectorOptions = {
  /** `cpu`, `auto` (a GPU that works, else the CPU) or an execution provider of ONNX Runtime: `cuda`, `cuda:1` for the second GPU. Defaults to `cpu`. */
  readonly device?: string;
  /** Threads on the CPU. Defaults to the number of cores. */
  readonly threads?: number;
  /** Starts the projector with the first call. Defaults to `false`. */
  readonly lazy?: boolean;
  readonly signal?: AbortSignal | null;
  /** Called while weights are converted to another type. */
  readonly onProgress?: OnProgress;
};

/** Options of {@link Projector.project}. */
export type ProjectorCallOptions = {
  /** Transfers the features' buffer instead of copying it, which detaches it. Defaults to `false`. */
  readonly transfer?: boolean;
  readonly signal?: AbortSignal | null;
};

/**
 * Maps video features into the language model's embedding space, in a worker thread, over weights in place.
 *
 * @example
 * ```ts
 * const projector = await Projector.load('mm_projector.safetensors');
 * const embeddings = await projector.project(features); // [tokens, projector.outChannels]
 * await projector.dispose();
 * ```
 */
export class Projector {
  /**
   * `linear`: one linear layer. `mlp2x_gelu`: two linear layers with GELU (by the error function) between them; `mlp2x_relu`,
   * `mlp2x_silu` and so on: with another activation. `layernorm_mlp2x_gelu`: the same behind a normalisation. Or a kind that was
   * added by `registerProjector`.
   */
  readonly kind: string;
  /** Channels of a feature: C. */
  readonly inChannels: number;
  /** Width of the language model: d. */
  readonly outChannels: number;
  /** A fingerprint of the projector: equal for the same weights in any file, different for others. */
  readonly identity: string;
  /** The tower's states that it was trained on, where its files say so. @internal */
  readonly trainedStates: ProjectorSource['trainedStates'];
  readonly #path: string;
  readonly #graph: GraphSession;
  readonly #weights: GuardedFingerprint;

  /** No proxy, and no object that only has the prototype. @internal */
  static [Symbol.hasInstance](value: unknown): value is Projector {
    return typeof value === 'object' && value !== null && #graph in value;
  }

  private constructor(path: string, source: ProjectorSource, weights: GuardedFingerprint, graph: GraphSession) {
    this.kind = source.kind;
    this.inChannels = source.inChannels;
    this.outChannels = source.outChannels;
    this.identity = weights.key;
    this.#weights = weights;
    this.trainedStates = source.trainedStates;
    this.#path = path;
    this.#graph = graph;
  }

  /**
   * Checks the weights and starts the projector.
   *
   * @param path an mmproj .gguf file; a .safetensors or PyTorch file with `mm_projector.weight` and `.bias`, or `mm_projector.0`
   * and `.2`, or those of Hugging Face's LLaVA, with any prefix; a folder with such a file; the index of a sharded model; or a
   * file that a family of `registerProjector` accepts. A config.json beside it is read.
   * @throws TypeError or RangeError for a wrong argument; LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS`,
   * `ERR_LONGVLM_UNSUPPORTED`, `ERR_LONGVLM_INFERENCE`; `signal.reason`.
   */
  static load(path: string, options: ProjectorOptions = {}): Promise<Projector> {
    return withCallbacks(
      options,
      ['onProgress'],
      (guarded) => Projector.#load(path, guarded),
      (projector) => projector.dispose(),
    );
  }

  static async #load(path: string, options: ProjectorOptions): Promise<Projector> {
    checkString('path', path);
    const { device, threads, lazy = false, onProgress } = checkObject('options', options);
    const runtime = ortRuntime({
      ...(device !== undefined && { device }),
      ...(threads !== undefined && { threads }),
    });
    if (typeof lazy !== 'boolean') wrongType('lazy', 'boolean', lazy);
    if (onProgress !== undefined) checkFunction('onProgress', onProgress);
    const signal = checkSignal(options.signal);
    signal?.throwIfAborted();
    const source = await openProjector(path, signal, onProgress);
    const [weights, model] = await Promise.all([
      guardedFingerprint(source.description ?? source.kind, source.tensors, signal),
      source.graph(),
    ]);
    const graph = await runtime.open(model, { name: 'The projector', lazy, ...(signal && { signal }) });
    try {
      if (!lazy) await weights.checkUsed(true);
      return new Projector(path, source, weights, graph);
    } catch (error) {
      await graph.dispose();
      throw error;
    }
  }

  /**
   * Projects features to embeddings.
   * @param features [tokens, inChannels], float32 or float16, at least one token.
   * @returns embeddings [tokens, outChannels], float32.
   * @throws TypeError or RangeError for wrong features; LongVLMError `ERR_LONGVLM_MISMATCH` for another width,
   * `ERR_LONGVLM_DISPOSED`, `ERR_LONGVLM_INFERENCE`; `signal.reason`.
   */
  async project(features: TensorInput, options: ProjectorCallOptions = {}): Promise<Float32Tensor> {
    const given = checkTensor('features', features, ['tokens', 'channels']);
    const [tokens, channels] = given.dims;
    checkInteger('features.dims[0]', tokens, 1);
    const { transfer = false } = checkObject('options', options);
    if (typeof transfer !== 'boolean') wrongType('transfer', 'boolean', transfer);
    const signal = checkSignal(options.signal);
    this.#checkChannels(channels!);
    // At once, so that the call is one of those that release() and dispose() wait for.
    const floats = toFloat32(given);
    const outputs = {
      embeddings: float32Tensor(new Float32Array(tokens! * this.outChannels), [tokens!, this.outChannels]),
    };
    // Converted features are a private copy, so they can be transferred.
    const starts = this.device === undefined;
    const { embeddings } = await this.#graph.run({ features: floats }, outputs, {
      move: transfer || floats !== given,
      signal,
    });
    await this.#weights.checkUsed(starts);
    return embeddings!;
  }

  /**
   * As {@link project}, of features in the memory of a GPU, where they are read if the projector runs there: the embeddings alone
   * come down.
   * @param features [tokens, inChannels] float32
   * @internal
   */
  async projectOnDevice(features: DeviceBuffer, signal: AbortSignal | undefined): Promise<Float32Tensor> {
    this.#checkChannels(features.dims[1]!);
    const gpu = await this.gpu(signal);
    if (gpu !== features.deviceIndex)
      return this.project((await features.download()) as Tensor, { transfer: true, ...(signal && { signal }) });
    const dims = [features.dims[0]!, this.outChannels] as const;
    const on = DeviceBuffer.allocate('float32', dims, { device: `cuda:${gpu}` });
    try {
      const data = new Float32Array(dims[0] * dims[1]);
      await this.projectInto(on, features, signal, { downloads: [{ buffer: on, data }] });
      return float32Tensor(data, dims);
    } finally {
      on.dispose();
    }
  }

  /**
   * The number of the GPU that it works on, once it is started; undefined where it runs elsewhere.
   * @throws as {@link project}
   * @internal
   */
  async gpu(signal: AbortSignal | undefined): Promise<number | undefined> {
    const starts = this.device === undefined;
    const gpu = await this.#graph.gpu(signal);
    await this.#weights.checkUsed(starts);
    return gpu;
  }

  /**
   * Projects features in the memory of its GPU, where the embeddings stay.
   * @param embeddings [tokens, outChannels] float32
   * @param features [tokens, inChannels] float32
   * @internal
   */
  async projectInto(
    embeddings: DeviceBuffer,
    features: DeviceBuffer,
    signal: AbortSignal | undefined,
    work: DeviceWork = {},
  ): Promise<void> {
    this.#checkChannels(features.dims[1]!);
    await this.#graph.run({ features }, { embeddings }, { work, signal });
    await this.#weights.checkUsed(false);
  }

  /** ONNX Runtime's execution provider that the projector runs on: `cpu`, `cuda` and so on; undefined before it is started. */
  get device(): string | undefined {
    return this.#graph.device;
  }

  get disposed(): boolean {
    return this.#graph.disposed;
  }

  #checkChannels(channels: number): void {
    if (channels !== this.inChannels)
      throw new LongVLMError(
        'ERR_LONGVLM_MISMATCH',
        `${this.#path} takes features of ${this.inChannels} channels but received ${channels}. Use the projector that was trained for this vision tower.`,
      );
  }

  /** Frees the projector once running calls are done; the next call starts it again. */
  release(): Promise<void> {
    return this.#graph.release();
  }

  /** Waits for running calls, then frees the projector and stops its thread. Safe to call twice. */
  dispose(): Promise<void> {
    return this.#graph.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
