// Terminating a thread while it is inside ONNX Runtime aborts the whole process: onnxruntime-node throws a C++ exception
// when it finds that its JavaScript environment is gone. So such a thread is never terminated, and an exiting process waits
// for the current run, which is one micro-batch.
import { workerData } from 'node:worker_threads';

const inside = 0;
const leaving = 1;

/** Flags shared by an owner and its worker thread: whether the thread is inside ONNX Runtime, and whether the process is exiting. */
export type ExitGate = Int32Array<SharedArrayBuffer>;

// Longer than any micro-batch. After that the process exits anyway: an abort is better than a hang.
const longestWaitMs = 60_000;
const gates = new Set<ExitGate>();

/** For the owner: opens a gate that delays the process's exit while the thread is inside ONNX Runtime. */
export function openGate(): ExitGate {
  if (gates.size === 0) process.on('exit', waitForAll);
  const gate = new Int32Array(new SharedArrayBuffer(8));
  gates.add(gate);
  return gate;
}

/** For the owner: removes the gate of a thread that has exited. */
export function closeGate(gate: ExitGate): void {
  gates.delete(gate);
  if (gates.size === 0) process.off('exit', waitForAll);
}

function waitForAll(): void {
  for (const gate of gates) Atomics.store(gate, leaving, 1);
  for (const gate of gates) Atomics.wait(gate, inside, 1, longestWaitMs);
}

/** For the worker: runs `work`, which calls ONNX Runtime. Once the process is exiting, the promise never settles. */
export async function throughGate<T>(work: () => Promise<T>): Promise<T> {
  const gate = (workerData as { gate?: ExitGate } | null)?.gate;
  if (!gate) return work();
  // Set `inside`, then read the owner's flag. The owner does the opposite, so at least one of the two sees the other's flag.
  Atomics.store(gate, inside, 1);
  try {
    if (!Atomics.load(gate, leaving)) return await work();
  } finally {
    Atomics.store(gate, inside, 0);
    Atomics.notify(gate, inside);
  }
  return new Promise(() => {});
}
