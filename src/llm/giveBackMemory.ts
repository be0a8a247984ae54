// Memory that a step needed, and the next one does not.
import { binding } from '../binding.js';

let trimming: Promise<void> | undefined;

/**
 * Gives memory that was freed back to the system. The C library keeps much of a context's otherwise, another part each time. Never
 * rejects: where no thread can be started, the memory stays.
 */
export function trimMemory(): Promise<void> {
  trimming ??= trimOnThread().finally(() => {
    trimming = undefined;
  });
  return trimming;
}

async function trimOnThread(): Promise<void> {
  try {
    await binding().trimMemory().promise;
  } catch {
    // As above.
  }
}

/**
 * The same, once V8 has freed what nobody refers to. Stops JavaScript for as long as a full garbage collection takes: tens of
 * milliseconds for the command line's heap.
 */
export async function giveBackMemory(): Promise<void> {
  // Not every build of Node has it.
  const inspector = await import('node:inspector/promises').catch(() => undefined);
  if (inspector) {
    const session = new inspector.Session();
    session.connect();
    await session.post('HeapProfiler.collectGarbage');
    session.disconnect();
  }
  await trimMemory();
}
