// Runs graphs without blocking the calling thread.
import { raceAbort } from '../base/abort.js';
import { LongVLMError } from '../base/errors.js';
import { checkInteger, checkString } from '../base/validate.js';
import { inWhatFits, isOutOfMemory, outOfMemory } from './gpuMemory.js';
import type { OnnxModel } from './graphBuilder.js';
import { OrtSession, type RunCall, type SessionOptions } from './ortSession.js';
import { commonRows, type DeviceWork, type Outputs, takeOver, type Values } from './values.js';

export type { DeviceWork, Outputs, Transfer, Uint8Tensor, Values } from './values.js';

/** Options of {@link Runtime.open}. */
export type OpenGraphOptions = {
  /** Name of the graph in messages: 'The vision tower', 'The projector'. */
  readonly name: string;
  /** Rows of the inputs' first axis that are run at once. Defaults to all. */
  readonly batch?: number;
  /** The same on an NVIDIA GPU, where it is halved until the memory is enough. Defaults to `batch`. */
  readonly gpuBatch?: number;
  /** Starts the graph with the first run. Defaults to `false`. */
  readonly lazy?: boolean;
  readonly signal?: AbortSignal;
};

/** Options of {@link GraphSession.run}. */
export type RunOptions = {
  readonly move?: boolean;
  readonly work?: DeviceWork;
  readonly signal?: AbortSignal | undefined;
};

/** A graph that can be run. */
export interface GraphSession {
  /** ONNX Runtime's execution provider: `cpu`, `cuda` and so on; undefined before the graph is started. */
  readonly device: string | undefined;
  readonly disposed: boolean;
  /**
   * Starts the graph unless it is.
   * @returns the number of the GPU whose memory inputs and outputs can be in; undefined where they are on the host
   * @throws as {@link run}
   */
  gpu(signal?: AbortSignal): Promise<number | undefined>;
  /**
   * Runs the graph in micro-batches of `batch` rows, after earlier runs. An abort ends a run in the middle; it does not
   * end the start of the graph, for which other runs may wait.
   *
   * @param inputs all with the same first axis. With `move` their buffers are taken over, which detaches them here. Otherwise,
   * and for views of a larger buffer, they are copied. Device buffers are read in place.
   * @param outputs tensors for the results, with the same first axis, written in place. Buffers on the host are taken over as
   * a whole and given back in the result: pass them again to reuse the memory. After a failure or an abort they are lost.
   * @param options `work`: what happens in device buffers around the run, where {@link gpu} is defined
   * @returns new tensors over the memory of `outputs`; device buffers as they are.
   * @throws LongVLMError `ERR_LONGVLM_CUDA_OOM` when not even one row fits into a GPU's memory; `ERR_LONGVLM_NOT_FINITE` as the
   * operations of `work` do; RangeError for tensors that do not fit together; LongVLMError `ERR_LONGVLM_DISPOSED`, `ERR_LONGVLM_INFERENCE`; what
   * {@link Runtime.open} throws, if the graph has to be started; `signal.reason`.
   */
  run<O extends Outputs>(inputs: Values, outputs: O, options?: RunOptions): Promise<O>;
  /** Frees the graph once running calls are done; the next run starts it again. */
  release(): Promise<void>;
  /** Waits for running calls, then frees the graph permanently. Safe to call twice. */
  dispose(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Opens graphs for execution. */
export interface Runtime {
  /** The requested device: `cpu`, `auto` or an execution provider. */
  readonly device: string;
  /**
   * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for a missing device, `ERR_LONGVLM_INFERENCE` when ONNX Runtime
   * refuses the model; `signal.reason`.
   */
  open(model: OnnxModel, options: OpenGraphOptions): Promise<GraphSession>;
}

/** Options of {@link ortRuntime}. */
export type OrtRuntimeOptions = {
  /** `cpu`, `auto` (a GPU that works, else the CPU) or an execution provider of ONNX Runtime: `cuda`, `cuda:1` for the second GPU. Defaults to `cpu`. */
  readonly device?: string;
  /** Threads on the CPU. Defaults to the number of cores. */
  readonly threads?: number;
};

const mostThreads = 1024;

/**
 * A runtime that runs each graph on a native thread of its own.
 * @throws TypeError or RangeError for a wrong option.
 */
export function ortRuntime(options: OrtRuntimeOptions = {}): Runtime {
  const device = checkString('device', options.device ?? 'cpu');
  const threads = options.threads === undefined ? undefined : checkInteger('threads', options.threads, 1, mostThreads);
  return {
    device,
    async open(model, { name, batch, gpuBatch = batch, lazy = false, signal }) {
      if (batch !== undefined) checkInteger('batch', batch, 1);
      if (gpuBatch !== undefined) checkInteger('gpuBatch', gpuBatch, 1);
      signal?.throwIfAborted();
      const graph = new OrtGraph(model, { device, threads }, { batch, gpuBatch }, name);
      if (!lazy) await graph.start(signal);
      return graph;
    },
  };
}

type Batches = { readonly batch: number | undefined; readonly gpuBatch: number | undefined };

class OrtGraph implements GraphSession {
  readonly #model: OnnxModel;
  readonly #options: SessionOptions;
  readonly #batch: number | undefined;
  #gpuBatch: number | undefined;
  readonly #name: string;
  #session: Promise<OrtSession> | undefined;
  #device: string | undefined;
  #runs: Promise<unknown> = Promise.resolve();
  #releasing: Promise<void> = Promise.resolve();
  #disposing: Promise<void> | undefined;

  constructor(model: OnnxModel, options: SessionOptions, { batch, gpuBatch }: Batches, name: string) {
    this.#model = model;
    this.#options = options;
    this.#batch = batch;
    this.#gpuBatch = gpuBatch;
    this.#name = name;
  }

  get device(): string | undefined {
    return this.#device;
  }

  get disposed(): boolean {
    return this.#disposing !== undefined;
  }

  /** Loads the graph; the next call loads it again if that fails. */
  start(signal?: AbortSignal): Promise<OrtSession> {
    if (this.#session) return this.#session;
    const session = OrtSession.load(this.#model, this.#options, signal);
    this.#session = session;
    session.then(
      ({ device }) => {
        if (this.#session === session) this.#device = device;
      },
      () => {
        if (this.#session === session) this.#session = undefined;
      },
    );
    return session;
  }

  async run<O extends Outputs>(
    inputs: Values,
    outputs: O,
    { move = false, work, signal }: RunOptions = {},
  ): Promise<O> {
    const rows = commonRows(inputs, outputs);
    this.#checkUsable();
    signal?.throwIfAborted();
    const session = this.start();
    const call = { rows, ...takeOver(inputs, outputs, move), work };
    const run = raceAbort(session, signal).then((session) => this.#runIn(session, call, signal));
    this.#runs = Promise.allSettled([this.#runs, run]);
    await run;
    return call.outputs;
  }

  async gpu(signal?: AbortSignal): Promise<number | undefined> {
    this.#checkUsable();
    signal?.throwIfAborted();
    return (await raceAbort(this.start(), signal)).gpu;
  }

  async #runIn(session: OrtSession, call: Omit<RunCall, 'batch'>, signal: AbortSignal | undefined): Promise<void> {
    const all = Math.max(call.rows, 1);
    if (!session.isOnGpu) return session.run({ ...call, batch: this.#batch ?? all }, signal);
    try {
      const most = Math.min(this.#gpuBatch ?? all, all);
      const fitted = await inWhatFits(this.#name, most, (batch) => session.run({ ...call, batch }, signal));
      if (fitted < most) this.#gpuBatch = fitted;
    } catch (error) {
      if (isOutOfMemory(error)) throw outOfMemory(this.#name, session.device, error);
      throw error;
    }
  }

  #checkUsable(): void {
    if (this.disposed) throw new LongVLMError('ERR_LONGVLM_DISPOSED', `${this.#name} was disposed. Load it again.`);
  }

  release(): Promise<void> {
    this.#releasing = Promise.all([this.#releasing, this.#releaseNow()]).then(() => {});
    return this.#releasing;
  }

  dispose(): Promise<void> {
    this.#disposing ??= this.release();
    return this.#disposing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #releaseNow(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    this.#device = undefined;
    if (!session) return;
    // Whoever waits for the session to start asks for their run first.
    await this.#runs;
    const loaded = await session.catch(() => undefined);
    if (!loaded) return;
    await loaded.release();
  }
}
