import { LongVLMError } from '../base/errors.js';
import { type Float32Tensor, float32Tensor, type Tensor, toFloat32 } from '../base/tensor.js';
import { checkInteger, checkObject, checkSignal, checkString, checkTensor } from '../base/validate.js';
import { GraphBuilder, type OnnxModel } from '../compute/graphBuilder.js';
import { WorkerClient } from '../compute/workerClient.js';
import { fingerprint } from '../files/tensorFingerprint.js';
import { openProjector, type ProjectorWeights } from './projectorWeights.js';
import type { ProjectorWorkerData } from './worker.js';

/** Options of {@link Projector.load}. */
export type ProjectorOptions = {
  /** `cpu`, `auto` (a GPU that works, else the CPU) or an execution provider of ONNX Runtime. Defaults to `cpu`. */
  readonly device?: string;
  /** Threads on the CPU. Defaults to the machine's cores. */
  readonly threads?: number;
  readonly signal?: AbortSignal;
};

/**
 * Maps video features into the language model's space, in a worker thread, over the weights where they lie.
 *
 * @example
 * ```ts
 * const projector = await Projector.load('mm_projector.safetensors');
 * const embeddings = await projector.project(features); // [tokens, projector.outChannels]
 * await projector.dispose();
 * ```
 */
export class Projector {
  /** One linear layer, or two with GELU (by the error function) between. */
  readonly kind: ProjectorWeights['kind'];
  /** Channels of a feature: C. */
  readonly inChannels: number;
  /** Width of the language model: d. */
  readonly outChannels: number;
  /** A fingerprint of the projector: equal for the same weights wherever they lie, different for others. */
  readonly identity: string;
  readonly #path: string;
  readonly #worker: WorkerClient;

  private constructor(path: string, { kind, layers }: ProjectorWeights, identity: string, worker: WorkerClient) {
    this.kind = kind;
    this.inChannels = layers[0]!.weight.shape[1]!;
    this.outChannels = layers.at(-1)!.weight.shape[0]!;
    this.identity = identity;
    this.#path = path;
    this.#worker = worker;
  }

  /**
   * Checks the weights and starts the projector.
   *
   * @param path an mmproj .gguf file, or a .safetensors or PyTorch file that holds `mm_projector.weight` and `.bias`, or
   * `mm_projector.0` and `.2`, whatever stands before these names; or a folder with one, or the index of several.
   * @throws TypeError or RangeError for a wrong argument; LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS`,
   * `ERR_LONGVLM_UNSUPPORTED`, `ERR_LONGVLM_INFERENCE`; `signal.reason`.
   */
  static async load(path: string, options: ProjectorOptions = {}): Promise<Projector> {
    checkString('path', path);
    checkObject('options', options);
    const device = checkString('device', options.device ?? 'cpu');
    const threads = options.threads === undefined ? undefined : checkInteger('threads', options.threads, 1);
    const signal = checkSignal(options.signal);
    signal?.throwIfAborted();
    const weights = await openProjector(path, signal);
    const tensors = weights.layers.flatMap(({ weight, bias }) => [weight, bias]);
    const identity = await fingerprint(weights.kind, tensors);
    const data: ProjectorWorkerData = {
      model: await buildProjector(weights),
      session: { device, threads },
      outChannels: weights.layers.at(-1)!.weight.shape[0]!,
    };
    const worker = await WorkerClient.start(new URL('./worker.js', import.meta.url), data, 'The projector', signal);
    return new Projector(path, weights, identity, worker);
  }

  /**
   * @param features [tokens, inChannels], float32 or float16, at least one token.
   * @returns [tokens, outChannels].
   * @throws TypeError or RangeError for wrong features; LongVLMError `ERR_LONGVLM_MISMATCH` for another width,
   * `ERR_LONGVLM_DISPOSED`, `ERR_LONGVLM_INFERENCE`; `signal.reason`.
   */
  async project(features: Tensor, options: { readonly signal?: AbortSignal } = {}): Promise<Float32Tensor> {
    const [tokens, channels] = checkTensor('features', features, ['tokens', 'channels']).dims;
    checkInteger('features.dims[0]', tokens, 1);
    const signal = checkSignal(checkObject('options', options).signal);
    if (channels !== this.inChannels)
      throw new LongVLMError(
        'ERR_LONGVLM_MISMATCH',
        `${this.#path} takes features of ${this.inChannels} channels but received ${channels}. Use the projector that was trained for this vision tower.`,
      );
    // A copy that goes over: the caller's features stay theirs.
    const data = features.type === 'float32' ? Float32Array.from(features.data) : toFloat32(features).data;
    const payload = float32Tensor(data, [tokens!, channels]);
    return this.#worker.call('project', payload, { signal, transfer: [data.buffer as ArrayBuffer] });
  }

  /** ONNX Runtime's execution provider that it runs on: `cpu`, `cuda` and so on. */
  get device(): string {
    return this.#worker.info as string;
  }

  get disposed(): boolean {
    return this.#worker.disposed;
  }

  /** Waits for the calls under way, then frees the projector and ends its thread. Safe to call twice. */
  dispose(): Promise<void> {
    return this.#worker.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/** Input `features` [n, C], output `embeddings` [n, d]. */
function buildProjector({ layers }: ProjectorWeights): Promise<OnnxModel> {
  const graph = new GraphBuilder('projector');
  let value = graph.input('features', ['tokens', layers[0]!.weight.shape[1]!]);
  for (const [index, { weight, bias }] of layers.entries()) {
    if (index > 0) value = graph.node('Gelu', [value]);
    value = graph.node('Gemm', [value, graph.weight(weight), graph.weight(bias)], { transB: 1 });
  }
  graph.output('embeddings', value, ['tokens', layers.at(-1)!.weight.shape[0]!]);
  return graph.build();
}
