import { setImmediate } from 'node:timers/promises';
import { parentPort, type Transferable, workerData } from 'node:worker_threads';
import { type Request, type Response, toWire } from './wire.js';

/** An answer, and the buffers in it that go over to the owner without a copy. */
export type Answer = { readonly value: unknown; readonly transfer: readonly Transferable[] };

/** What a worker does: one handler a method, and the end. */
export type Service<Payload> = {
  /** `signal` aborts when the caller has given up: {@link letAbortsArrive} between pieces of work. */
  readonly handlers: Readonly<Record<string, (payload: Payload, signal: AbortSignal) => Promise<Answer>>>;
  close(): Promise<void>;
  /** What the owner should know of it, once it is started: plain data. */
  readonly info?: unknown;
};

/** Throws when the caller has given up. The abort is a message, which this thread reads only when it comes to rest. */
export async function letAbortsArrive(signal: AbortSignal): Promise<void> {
  await setImmediate();
  signal.throwIfAborted();
}

/** Serves a {@link WorkerClient} from inside its worker thread, one call at a time, in order. */
export async function serveWorker<Data, Payload>(start: (data: Data) => Promise<Service<Payload>>): Promise<void> {
  const port = parentPort!;
  const calls = new Map<number, AbortController>();
  let last: Promise<void> = Promise.resolve();
  const post = (response: Response, transfer: readonly Transferable[] = []) => port.postMessage(response, transfer);

  let service: Service<Payload>;
  try {
    service = await start((workerData as { data: Data }).data);
  } catch (error) {
    post({ id: 0, error: toWire(error) });
    return;
  }

  const handle = async (id: number, method: string, payload: unknown, { signal }: AbortController) => {
    try {
      await letAbortsArrive(signal);
      const { value, transfer } = await service.handlers[method]!(payload as Payload, signal);
      post({ id, value }, transfer);
    } catch (error) {
      post({ id, error: toWire(error) });
    } finally {
      calls.delete(id);
    }
  };

  port.on('message', (request: Request) => {
    if (request.type === 'abort') {
      calls.get(request.id)?.abort();
    } else if (request.type === 'call') {
      const controller = new AbortController();
      calls.set(request.id, controller);
      last = last.then(() => handle(request.id, request.method, request.payload, controller));
    } else {
      // A closed port lets the thread end by itself, once nothing runs in it.
      void last.then(() => service.close()).finally(() => port.close());
    }
  });
  post({ id: 0, value: service.info });
}
