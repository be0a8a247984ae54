import { setMaxListeners } from 'node:events';

/**
 * `signal`, of which Node says no more that its listeners were a leak: one signal may end any number of calls, and each takes
 * its listener away when it is done.
 */
export function forAnyNumber<S extends AbortSignal>(signal: S): S {
  try {
    setMaxListeners(0, signal);
  } catch {
    // Of another realm, or none of Node's: it does not count.
  }
  return signal;
}

/** Calls `listener` when `signal` aborts. Returns what takes the listener away. */
export function listen(signal: AbortSignal | null | undefined, listener: (event: Event) => void): () => void {
  if (!signal) return () => {};
  forAnyNumber(signal).addEventListener('abort', listener, { once: true });
  return () => signal.removeEventListener('abort', listener);
}

/**
 * `promise`, or a rejection with `signal.reason` as soon as one of the signals aborts. The work behind the promise
 * continues; if it fails after that, its error is ignored.
 */
export async function raceAbort<T>(promise: Promise<T>, ...signals: (AbortSignal | null | undefined)[]): Promise<T> {
  promise.catch(() => {});
  for (const signal of signals) signal?.throwIfAborted();
  let onAbort!: (event: Event) => void;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = (event) => reject((event.target as AbortSignal).reason);
  });
  const unlink = signals.map((signal) => listen(signal, onAbort));
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    for (const end of unlink) end();
  }
}

/**
 * A controller that aborts as soon as one of the signals does, with the signal's reason. Call `unlink` when the work is
 * done: otherwise a long-lived signal would keep the controller in memory.
 */
export function linkedController(...signals: (AbortSignal | null | undefined)[]): {
  readonly controller: AbortController;
  readonly unlink: () => void;
} {
  const controller = new AbortController();
  forAnyNumber(controller.signal);
  const onAbort = (event: Event) => controller.abort((event.target as AbortSignal).reason);
  const links = signals.map((signal) => {
    if (signal?.aborted) controller.abort(signal.reason);
    return listen(signal, onAbort);
  });
  const unlink = () => {
    for (const end of links) end();
  };
  return { controller, unlink };
}
