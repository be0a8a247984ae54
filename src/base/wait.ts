import { setTimeout } from 'node:timers/promises';

/** Resolves after `ms` milliseconds. @throws `signal.reason` as soon as the signal aborts */
export async function wait(ms: number, signal?: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { ...(signal && { signal }) }).catch(() => {});
  signal?.throwIfAborted();
}
