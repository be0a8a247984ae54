// Inputs and outputs of graphs.
import type { Float32Tensor } from '../base/tensor.js';

/** A tensor of bytes: decoded pixels. */
export type Uint8Tensor = { readonly type: 'uint8'; readonly data: Uint8Array; readonly dims: readonly number[] };

/** Tensors by the names of a graph's inputs or outputs. */
export type Values = Readonly<Record<string, Float32Tensor | Uint8Tensor>>;

/** Tensors by the names of a graph's outputs. */
export type Outputs = Readonly<Record<string, Float32Tensor>>;

/** The distinct buffers of tensors, as a transfer list. */
export function buffersOf(...values: readonly Values[]): ArrayBuffer[] {
  const tensors = values.flatMap((some) => Object.values(some));
  return [...new Set(tensors.map(({ data }) => data.buffer as ArrayBuffer))];
}
