import { setTimeout } from 'node:timers/promises';

/** The longest delay of setTimeout, in ms: 24 days. */
export const longestTimer = 2 ** 31 - 1;

/** Resolves after `ms` milliseconds. @throws `signal.reason` as soon as the signal aborts */
export async function wait(ms: number, signal?: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { ...(signal && { signal }) }).catch(() => {});
  signal?.throwIfAborted();
}
