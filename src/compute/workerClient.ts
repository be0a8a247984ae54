import { type Transferable, Worker } from 'node:worker_threads';
import { raceAbort } from '../base/abort.js';
import { LongVLMError, messageOf } from '../base/errors.js';
import { closeGate, openGate } from './exitGate.js';
import { fromWire, type Request, type Response } from './wire.js';

type Pending = { resolve(value: unknown): void; reject(error: unknown): void };

/**
 * A worker thread that serves calls in order. It keeps the process alive only while a call is under way.
 *
 * However the thread ends, every call settles: with its answer, or with `ERR_LONGVLM_INFERENCE`.
 */
export class WorkerClient {
  readonly #worker: Worker;
  readonly #name: string;
  readonly #pending = new Map<number, Pending>();
  readonly #exited: Promise<void>;
  #info: unknown;
  #calls = 0;
  #failure: LongVLMError | undefined;
  #disposing: Promise<void> | undefined;

  private constructor(script: URL, data: unknown, name: string) {
    this.#name = name;
    const gate = openGate();
    // Without the owner's command line: `--input-type`, for one, makes a thread fail.
    this.#worker = new Worker(script, { workerData: { data, gate }, name: 'longvlm', execArgv: [] });
    this.#worker.on('message', (response: Response) => this.#settle(response));
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

  /**
   * Starts `script` (which calls `serveWorker`) and waits until it is ready.
   *
   * @param name what messages call it: "The vision tower"
   * @throws whatever the worker's start throws; `signal.reason`.
   */
  static async start(script: URL, data: unknown, name: string, signal?: AbortSignal): Promise<WorkerClient> {
    signal?.throwIfAborted();
    const client = new WorkerClient(script, data, name);
    try {
      client.#info = await client.#track(0, signal);
      return client;
    } catch (error) {
      // Not terminated: it may be inside ONNX Runtime. It ends by itself, after loading if that is under way.
      const ended = client.dispose();
      if (!signal?.aborted) await ended;
      throw error;
    }
  }

  /** What the worker told of itself when it was ready. */
  get info(): unknown {
    return this.#info;
  }

  get disposed(): boolean {
    return this.#disposing !== undefined;
  }

  /**
   * Calls a method of the worker. Buffers in `transfer` go over without a copy, and are detached here.
   * @throws LongVLMError `ERR_LONGVLM_DISPOSED`, `ERR_LONGVLM_INFERENCE`; what the method throws; `signal.reason`.
   */
  async call<Value>(
    method: string,
    payload: unknown,
    { transfer = [], signal }: { transfer?: readonly Transferable[]; signal?: AbortSignal | undefined } = {},
  ): Promise<Value> {
    this.checkUsable();
    signal?.throwIfAborted();
    const id = ++this.#calls;
    this.#post({ type: 'call', id, method, payload }, transfer);
    return (await this.#track(id, signal)) as Value;
  }

  /** @throws LongVLMError `ERR_LONGVLM_DISPOSED`, or `ERR_LONGVLM_INFERENCE` when the thread has ended. */
  checkUsable(): void {
    if (this.disposed) throw new LongVLMError('ERR_LONGVLM_DISPOSED', `${this.#name} was disposed. Load it again.`);
    if (this.#failure) throw this.#failure;
  }

  /** Waits for the calls under way, then ends the thread. Safe to call twice. */
  dispose(): Promise<void> {
    this.#disposing ??= (async () => {
      this.#worker.ref();
      if (!this.#failure) this.#post({ type: 'close' });
      await this.#exited;
    })();
    return this.#disposing;
  }

  async #track(id: number, signal: AbortSignal | undefined): Promise<unknown> {
    const answer = new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
    this.#worker.ref();
    const abort = () => this.#post({ type: 'abort', id });
    signal?.addEventListener('abort', abort, { once: true });
    try {
      return await raceAbort(answer, signal);
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  #post(request: Request, transfer: readonly Transferable[] = []): void {
    this.#worker.postMessage(request, transfer);
  }

  #settle(response: Response): void {
    const pending = this.#pending.get(response.id);
    this.#pending.delete(response.id);
    this.#idle();
    if ('error' in response) pending?.reject(fromWire(response.error));
    else pending?.resolve(response.value);
  }

  #fail(what: string, cause?: unknown): void {
    this.#failure ??= new LongVLMError(
      'ERR_LONGVLM_INFERENCE',
      `${this.#name}'s worker thread ${what}. Load it again.`,
      { cause },
    );
    for (const pending of this.#pending.values()) pending.reject(this.#failure);
    this.#pending.clear();
    this.#idle();
  }

  #idle(): void {
    if (this.#pending.size === 0 && !this.disposed) this.#worker.unref();
  }
}
