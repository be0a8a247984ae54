// Runs graphs without blocking the calling thread.
import { raceAbort } from '../base/abort.js';
import { LongVLMError } from '../base/errors.js';
import { checkInteger, checkString } from '../base/validate.js';
import type { OnnxModel } from './graphBuilder.js';
import { OrtSession, type SessionOptions } from './ortSession.js';
import { commonRows, type Outputs, takeOver, type Values } from './values.js';

export type { Outputs, Uint8Tensor, Values } from './values.js';

/** Options of {@link Runtime.open}. */
export type OpenGraphOptions = {
  /** Name of the graph in messages: 'The vision tower', 'The projector'. */
  readonly name: string;
  /** Rows of the inputs' first axis that are run at once. Defaults to all. */
  readonly batch?: number;
  /** Starts the graph with the first run. Defaults to `false`. */
  readonly lazy?: boolean;
  readonly signal?: AbortSignal;
};

/** A graph that can be run. */
export interface GraphSession {
  /** ONNX Runtime's execution provider: `cpu`, `cuda` and so on; undefined before the graph is started. */
  readonly device: string | undefined;
  readonly disposed: boolean;
  /**
   * Runs the graph in micro-batches of `batch` rows, after earlier runs. An abort ends a run in the middle; it does not
   * end the start of the graph, for which other runs may wait.
   *
   * @param inputs all with the same first axis. With `move` their buffers are taken over, which detaches them here. Otherwise,
   * and for views of a larger buffer, they are copied. Device buffers are read in place.
   * @param outputs tensors for the results, with the same first axis, written in place. Buffers on the host are taken over as
   * a whole and given back in the result: pass them again to reuse the memory. After a failure or an abort they are lost.
   * @returns new tensors over the memory of `outputs`; device buffers as they are.
   * @throws RangeError for tensors that do not fit together; LongVLMError `ERR_LONGVLM_DISPOSED`, `ERR_LONGVLM_INFERENCE`; what
   * {@link Runtime.open} throws, if the graph has to be started; `signal.reason`.
   */
  run<O extends Outputs>(
    inputs: Values,
    outputs: O,
    options?: { readonly move?: boolean; readonly signal?: AbortSignal | undefined },
  ): Promise<O>;
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
  /** `cpu`, `auto` (a GPU that works, else the CPU) or an execution provider of ONNX Runtime. Defaults to `cpu`. */
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
    async open(model, { name, batch, lazy = false, signal }) {
      if (batch !== undefined) checkInteger('batch', batch, 1);
      signal?.throwIfAborted();
      const graph = new OrtGraph(model, { device, threads }, batch, name);
      if (!lazy) await graph.start(signal);
      return graph;
    },
  };
}

class OrtGraph implements GraphSession {
  readonly #model: OnnxModel;
  readonly #options: SessionOptions;
  readonly #batch: number | undefined;
  readonly #name: string;
  #session: Promise<OrtSession> | undefined;
  #device: string | undefined;
  #runs: Promise<unknown> = Promise.resolve();
  #releasing: Promise<void> = Promise.resolve();
  #disposing: Promise<void> | undefined;

  constructor(model: OnnxModel, options: SessionOptions, batch: number | undefined, name: string) {
    this.#model = model;
    this.#options = options;
    this.#batch = batch;
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
    { move = false, signal }: { readonly move?: boolean; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<O> {
    const rows = commonRows(inputs, outputs);
    if (this.disposed) throw new LongVLMError('ERR_LONGVLM_DISPOSED', `${this.#name} was disposed. Load it again.`);
    signal?.throwIfAborted();
    const session = this.start();
    const call = { rows, batch: this.#batch ?? Math.max(rows, 1), ...takeOver(inputs, outputs, move) };
    const run = raceAbort(session, signal).then((session) => session.run(call, signal));
    this.#runs = Promise.allSettled([this.#runs, run]);
    await run;
    return call.outputs;
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
