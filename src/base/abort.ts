/**
 * `promise`, or a rejection with `signal.reason` as soon as one of the signals aborts. The work behind the promise
 * continues; if it fails after that, its error is ignored.
 */
export async function raceAbort<T>(promise: Promise<T>, ...signals: (AbortSignal | undefined)[]): Promise<T> {
  promise.catch(() => {});
  const given = signals.filter((signal) => signal !== undefined);
  for (const signal of given) signal.throwIfAborted();
  let onAbort!: (event: Event) => void;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = (event) => reject((event.target as AbortSignal).reason);
  });
  for (const signal of given) signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    for (const signal of given) signal.removeEventListener('abort', onAbort);
  }
}

/**
 * A controller that aborts as soon as one of the signals does, with the signal's reason. Call `unlink` when the work is
 * done: otherwise a long-lived signal would keep the controller in memory.
 */
export function linkedController(...signals: (AbortSignal | undefined)[]): {
  readonly controller: AbortController;
  readonly unlink: () => void;
} {
  const controller = new AbortController();
  const onAbort = (event: Event) => controller.abort((event.target as AbortSignal).reason);
  for (const signal of signals) {
    if (signal?.aborted) controller.abort(signal.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
  }
  const unlink = () => {
    for (const signal of signals) signal?.removeEventListener('abort', onAbort);
  };
  return { controller, unlink };
}
