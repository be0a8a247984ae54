import { totalmem } from 'node:os';

/** Memory that this process may have, in bytes: that of the machine, or of the container that it runs in. */
export function memoryLimit(): number {
  const limit = process.constrainedMemory?.() ?? 0;
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

// What llama.cpp, ONNX Runtime and Node take beside the weights, and a context of some thousand tokens.
const besideWeights = 1.5e9;

/** Whether a model whose files have so many bytes runs in so much memory. */
export function runsIn(memory: number, modelBytes: number): boolean {
  return modelBytes + besideWeights <= memory;
}
