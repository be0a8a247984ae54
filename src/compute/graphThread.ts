// The owner's side of a graph in a worker thread.
import { Worker } from 'node:worker_threads';
import { raceAbort } from '../base/abort.js';
import { LongVLMError, messageOf } from '../base/errors.js';
import { closeGate, openGate } from './exitGate.js';
import { buffersOf, type Outputs } from './values.js';
import { fromWire, type GraphData, type Request, type Response, type RunCall, type ThreadData } from './wire.js';

type Pending<T> = { readonly promise: Promise<T>; resolve(value: T): void; reject(error: unknown): void };

const script = new URL('./worker.js', import.meta.url);

/**
 * A worker thread that runs one graph, from now on until it is disposed. It keeps the process alive only while it starts
 * and while runs are under way.
 *
 * However the thread ends, every run settles: with its outputs, or with an error.
 */
export class GraphThread {
  readonly #worker: Worker;
  readonly #name: string;
  readonly #started = pending<string>();
  readonly #runs = new Map<number, Pending<Outputs>>();
  readonly #exited: Promise<void>;
  #device: string | undefined;
  #calls = 0;
  #failure: Error | undefined;
  #disposing: Promise<void> | undefined;

  /** @param name what messages call it: "The vision tower" */
  constructor(graph: GraphData, name: string, worker = script) {
    this.#name = name;
    const gate = openGate();
    const workerData: ThreadData = { graph, gate };
    // Without the owner's command line: `--input-type`, for one, makes a thread fail.
    this.#worker = new Worker(worker, { workerData, name: 'longvlm', execArgv: [] });
    this.#worker.on('message', (response: Response) => this.#receive(response));
    this.#worker.on('messageerror', (error) => this.#fail(`sent what cannot be read: ${messageOf(error)}`, error));
    this.#worker.on('error', (error) => this.#fail(`ended unexpectedly: ${messageOf(error)}`, error));
    this.#exited = new Promise((resolve) => {
      this.#worker.once('exit', (code) => {
        closeGate(gate);
        this.#fail(`ended unexpectedly, with code ${code}`);
        resolve();
      });
    });
  }

  /** Settles when the graph can run, or its thread has ended without that. */
  get started(): Promise<unknown> {
    return this.#started.promise;
  }

  /** ONNX Runtime's execution provider; undefined until it is started. */
  get device(): string | undefined {
    return this.#device;
  }

  /**
   * Runs the graph, after the runs before it and once it is started. The buffers below all inputs and outputs are moved: they
   * are detached here.
   * @returns `call.outputs`, written, over the same memory.
   * @throws what the start throws; LongVLMError `ERR_LONGVLM_INFERENCE`, also when the thread has ended; `signal.reason`.
   */
  async run(call: RunCall, signal?: AbortSignal): Promise<Outputs> {
    signal?.throwIfAborted();
    if (this.#failure) throw this.#failure;
    const id = this.#calls++;
    this.#post({ type: 'run', id, ...call }, buffersOf(call.inputs, call.outputs));
    const run = pending<Outputs>();
    this.#runs.set(id, run);
    this.#worker.ref();
    const abort = () => this.#post({ type: 'abort', id });
    signal?.addEventListener('abort', abort, { once: true });
    try {
      return await raceAbort(run.promise, signal);
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /**
   * Waits for the runs under way, then ends the thread. It is not terminated, as it may be inside ONNX Runtime: it ends by
   * itself, after loading if that is under way. Safe to call twice.
   */
  dispose(): Promise<void> {
    this.#disposing ??= (async () => {
      this.#worker.ref();
      this.#post({ type: 'close' });
      await this.#exited;
    })();
    return this.#disposing;
  }

  #post(request: Request, transfer: readonly ArrayBuffer[] = []): void {
    this.#worker.postMessage(request, transfer);
  }

  #receive(response: Response): void {
    switch (response.type) {
      case 'started':
        this.#device = response.device;
        this.#started.resolve(response.device);
        break;
      case 'startFailed':
        // Told to those who wait once the thread has ended.
        this.#failure ??= fromWire(response.error);
        return;
      case 'done':
        this.#runs.get(response.id)?.resolve(response.outputs);
        this.#runs.delete(response.id);
        break;
      case 'failed':
        this.#runs.get(response.id)?.reject(fromWire(response.error));
        this.#runs.delete(response.id);
        break;
    }
    this.#idle();
  }

  #fail(what: string, cause?: unknown): void {
    this.#failure ??= new LongVLMError(
      'ERR_LONGVLM_INFERENCE',
      `${this.#name}'s worker thread ${what}. Load it again.`,
      { cause },
    );
    this.#started.reject(this.#failure);
    for (const run of this.#runs.values()) run.reject(this.#failure);
    this.#runs.clear();
    this.#idle();
  }

  #idle(): void {
    if (this.#runs.size === 0 && !this.#disposing) this.#worker.unref();
  }
}

/** A promise to be settled from outside. Nobody has to wait for it. */
function pending<T>(): Pending<T> {
  let settle!: Omit<Pending<T>, 'promise'>;
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject };
  });
  promise.catch(() => {});
  return { promise, ...settle };
}
