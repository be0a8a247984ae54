// Tensors for tests: seeded values, and the ways between tensors and rows.
import { type Float32Tensor, float32Tensor, halfToNumber, numberToHalf, type Tensor } from '../../dist/base/tensor.js';
import type { Rows } from './reference.js';

/** Seeded uniform numbers in [0, 1): mulberry32. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Values of both signs, as a sum of three uniform numbers: rows are neither alike nor on a grid. */
export function randomTensor(seed: number, dims: readonly number[]): Float32Tensor {
  const next = random(seed);
  const length = dims.reduce((product, size) => product * size, 1);
  return float32Tensor(
    Float32Array.from({ length }, () => next() + next() + next() - 1.5),
    dims,
  );
}

export function toHalf(tensor: Float32Tensor): Tensor {
  return { type: 'float16', data: Uint16Array.from(tensor.data, numberToHalf), dims: tensor.dims };
}

/** The values as numbers, whatever the type. */
export function values(tensor: Tensor): number[] {
  return tensor.type === 'float32' ? [...tensor.data] : Array.from(tensor.data, halfToNumber);
}

/** `[batch, rows, width]` as arrays. */
export function batchesOf(tensor: Tensor): Rows[] {
  const [batch, rows, width] = tensor.dims as [number, number, number];
  const flat = values(tensor);
  return Array.from({ length: batch }, (_, i) =>
    Array.from({ length: rows }, (_, j) => flat.slice((i * rows + j) * width, (i * rows + j + 1) * width)),
  );
}

/** The largest difference, relative to the largest value expected. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let largest = Number.MIN_VALUE;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i]! - expected[i]!);
    if (!(error <= difference)) difference = error;
    largest = Math.max(largest, Math.abs(expected[i]!));
  }
  return difference / largest;
}
