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
 * A worker thread that runs one graph until it is disposed. The thread keeps the process alive only while it starts or runs
 * the graph.
 *
 * Every run settles with its outputs or an error, however the thread exits.
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

  /** @param name name of the graph in messages: "The vision tower" */
  constructor(graph: GraphData, name: string, worker = script) {
    this.#name = name;
    const gate = openGate();
    const workerData: ThreadData = { graph, gate };
    // Without the owner's Node options: `--input-type`, for example, makes a thread fail.
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

  /** Settles when the graph can run, or when its thread has exited before that. */
  get started(): Promise<unknown> {
    return this.#started.promise;
  }

  /** ONNX Runtime's execution provider; undefined until the graph is started. */
  get device(): string | undefined {
    return this.#device;
  }

  /**
   * Runs the graph once it is started and earlier runs are done. The buffers of all inputs and outputs are transferred to the
   * thread, which detaches them here.
   * @returns `call.outputs` with the results, over the same memory.
   * @throws errors of the start; LongVLMError `ERR_LONGVLM_INFERENCE`, also when the thread has exited; `signal.reason`.
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
   * Waits for running calls, then stops the thread. The thread is not terminated, because it may be inside ONNX Runtime: it
   * exits by itself, after loading the graph if that is in progress. Safe to call twice.
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
        // Waiting callers get this error when the thread has exited.
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

/** A promise that is settled from outside. A rejection that nobody awaits is not reported as unhandled. */
function pending<T>(): Pending<T> {
  let settle!: Omit<Pending<T>, 'promise'>;
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject };
  });
  promise.catch(() => {});
  return { promise, ...settle };
}
