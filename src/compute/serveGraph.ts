// The worker thread's side of a graph.
import { setImmediate } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import type { OnnxModel } from './graphBuilder.js';
import type { Session, SessionOptions } from './ortSession.js';
import { buffersOf, type Outputs, rowsOf } from './values.js';
import { type Request, type Response, type RunCall, type ThreadData, toWire } from './wire.js';

/** A {@link Session}, or its replacement in a test. */
export type ServedSession = Pick<Session, 'device' | 'run' | 'release'>;

/** Opens a graph and serves the `GraphThread` that started this thread: one run at a time, in order. */
export async function serveGraph(
  open: (model: OnnxModel, options: SessionOptions) => Promise<ServedSession>,
): Promise<void> {
  const port = parentPort!;
  const post = (response: Response, transfer: readonly ArrayBuffer[] = []) => port.postMessage(response, transfer);
  const { model, session: options, batch } = (workerData as ThreadData).graph;
  let session: ServedSession;
  try {
    session = await open(model, options);
  } catch (error) {
    // Without a listener on the port, the thread exits here.
    post({ type: 'startFailed', error: toWire(error) });
    return;
  }

  const runInBatches = async ({ rows, inputs, outputs }: RunCall, signal: AbortSignal) => {
    const step = batch ?? Math.max(rows, 1);
    await letAbortsArrive(signal);
    for (let from = 0; from < rows; from += step) {
      if (from > 0) await letAbortsArrive(signal);
      const to = Math.min(from + step, rows);
      await session.run(rowsOf(inputs, from, to), rowsOf(outputs, from, to));
    }
    return outputs;
  };

  const calls = new Map<number, AbortController>();
  let last: Promise<void> = Promise.resolve();
  const serve = async (id: number, call: RunCall, { signal }: AbortController) => {
    let outputs: Outputs;
    try {
      outputs = await runInBatches(call, signal);
    } catch (error) {
      post({ type: 'failed', id, error: toWire(error) });
      return;
    } finally {
      calls.delete(id);
    }
    post({ type: 'done', id, outputs }, buffersOf(outputs));
  };

  // Messages that were posted earlier are queued until a listener is added.
  port.on('message', (request: Request) => {
    if (request.type === 'abort') {
      calls.get(request.id)?.abort();
    } else if (request.type === 'run') {
      const controller = new AbortController();
      calls.set(request.id, controller);
      last = last.then(() => serve(request.id, request, controller));
    } else {
      // When the port is closed and no run is left, the thread exits.
      void last.then(() => session.release()).finally(() => port.close());
    }
  });
  post({ type: 'started', device: session.device });
}

/** Throws if the caller has aborted. The abort arrives as a message, which this thread reads only in the event loop. */
async function letAbortsArrive(signal: AbortSignal): Promise<void> {
  await setImmediate();
  signal.throwIfAborted();
}
