// Memory that a step needed, and the next one does not.
import { binding } from '../binding.js';

/**
 * Has V8 free what nobody refers to, and gives it back to the system with what the C library keeps. Stops JavaScript for as long as
 * a full garbage collection takes: tens of milliseconds for the command line's heap.
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
  binding().trimMemory();
}
