// When the work for a request is to end: its client has gone, its time is over, or the service stops.
import { setMaxListeners } from 'node:events';
import type { FastifyReply } from 'fastify';
import { linkedController } from '../base/abort.js';
import { longestTimer } from '../base/wait.js';
import { ApiError, ClientGone } from './apiError.js';

/** Signals for requests. */
export class RequestSignals {
  readonly #stopped = new AbortController();
  readonly #seconds: number;

  /** @param seconds the longest time for the work of one */
  constructor(seconds: number) {
    this.#seconds = seconds;
    // One for each request.
    setMaxListeners(0, this.#stopped.signal);
  }

  /** Aborts when the client goes away before all was sent, or the service stops. Call `end` when the work has ended. */
  of(reply: FastifyReply): { readonly signal: AbortSignal; readonly end: () => void } {
    const { controller, unlink } = linkedController(this.#stopped.signal);
    const { raw } = reply;
    const onClose = () => {
      if (!raw.writableFinished) controller.abort(new ClientGone());
    };
    raw.on('close', onClose);
    // It may have gone while its request was read.
    if (raw.destroyed) onClose();
    const end = () => {
      raw.off('close', onClose);
      unlink();
    };
    return { signal: controller.signal, end };
  }

  /** Runs work whose time begins now. @throws ApiError when it is over */
  async within<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { controller, unlink } = linkedController(signal);
    const timer = setTimeout(
      () => controller.abort(new ApiError(504, `The answer was not there after ${this.#seconds} s.`)),
      Math.min(this.#seconds * 1000, longestTimer),
    );
    try {
      return await work(controller.signal);
    } finally {
      clearTimeout(timer);
      unlink();
    }
  }

  /** Ends all work. */
  stop(): void {
    this.#stopped.abort(new ApiError(503, 'The service stops. Ask again later.'));
  }
}
