// Timeouts for a hub that does not respond.
import { linkedController } from '../../base/abort.js';

/** Seconds from one of Hugging Face's environment variables; 10 (their default) if it is not a number above 0. */
export function secondsOf(variable: 'HF_HUB_DOWNLOAD_TIMEOUT' | 'HF_HUB_ETAG_TIMEOUT'): number {
  const seconds = Number(process.env[variable]);
  return seconds > 0 && Number.isFinite(seconds) ? seconds : 10;
}

/**
 * Runs `work` with a signal that aborts when `signal` does, or after `seconds` without activity. `work` reports activity by
 * calling its argument `alive`.
 */
export async function withPatience<T>(
  seconds: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal, alive: () => void) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const { controller, unlink } = linkedController(signal);
  const timer = setTimeout(() => controller.abort(new Error(`nothing came for ${seconds} s`)), seconds * 1000);
  try {
    return await work(controller.signal, () => timer.refresh());
  } finally {
    clearTimeout(timer);
    unlink();
  }
}
