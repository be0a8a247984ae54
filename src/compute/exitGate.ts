// A thread that is torn down while it is inside ONNX Runtime aborts the whole process: onnxruntime-node throws a C++
// exception as soon as it finds its JavaScript environment gone. So nobody terminates such a thread, and a process that
// exits waits for the run under way, which is one micro-batch.
import { workerData } from 'node:worker_threads';

const inside = 0;
const leaving = 1;

/** The flags that an owner shares with its worker thread: whether it is inside, and whether the process is leaving. */
export type ExitGate = Int32Array<SharedArrayBuffer>;

// Longer than any micro-batch; a process that hangs would be worse than one that aborts.
const longestWaitMs = 60_000;
const gates = new Set<ExitGate>();

/** For the owner: a gate that holds the process's exit while its thread is inside. */
export function openGate(): ExitGate {
  if (gates.size === 0) process.on('exit', waitForAll);
  const gate = new Int32Array(new SharedArrayBuffer(8));
  gates.add(gate);
  return gate;
}

/** For the owner: the thread has ended. */
export function closeGate(gate: ExitGate): void {
  gates.delete(gate);
  if (gates.size === 0) process.off('exit', waitForAll);
}

function waitForAll(): void {
  for (const gate of gates) Atomics.store(gate, leaving, 1);
  for (const gate of gates) Atomics.wait(gate, inside, 1, longestWaitMs);
}

/** For the worker: runs `work`, which calls ONNX Runtime; never, once the process is leaving. */
export async function throughGate<T>(work: () => Promise<T>): Promise<T> {
  const gate = (workerData as { gate?: ExitGate } | null)?.gate;
  if (!gate) return work();
  // First inside, then look: the owner does it the other way round, so that one of the two always sees the other.
  Atomics.store(gate, inside, 1);
  try {
    if (!Atomics.load(gate, leaving)) return await work();
  } finally {
    Atomics.store(gate, inside, 0);
    Atomics.notify(gate, inside);
  }
  return new Promise(() => {});
}
