// How long the hub may say nothing.

/** Seconds from a variable of Hugging Face's, 10 as there where it is not set or not a number above 0. */
export function secondsOf(variable: 'HF_HUB_DOWNLOAD_TIMEOUT' | 'HF_HUB_ETAG_TIMEOUT'): number {
  const seconds = Number(process.env[variable]);
  return seconds > 0 && Number.isFinite(seconds) ? seconds : 10;
}

/**
 * Runs `work` with a signal that aborts when `signal` does, or when for so many seconds nothing came: neither the end of the
 * work nor a call of the `alive` that it is given.
 */
export async function withPatience<T>(
  seconds: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal, alive: () => void) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new Error(`nothing came for ${seconds} s`)), seconds * 1000);
  const onAbort = () => controller.abort(signal!.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await work(controller.signal, () => timer.refresh());
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}
