// What goes into graphs and comes out of them.
import { elementCount, type Float32Tensor } from '../base/tensor.js';

/** A tensor of bytes: pixels, as a decoder gives them. */
export type Uint8Tensor = { readonly type: 'uint8'; readonly data: Uint8Array; readonly dims: readonly number[] };

/** Tensors by the names of a graph's inputs or outputs. */
export type Values = Readonly<Record<string, Float32Tensor | Uint8Tensor>>;

/** Tensors by the names of a graph's outputs. */
export type Outputs = Readonly<Record<string, Float32Tensor>>;

/** Rows `from` up to, not including, `to` of the first axis of each tensor: views, not copies. */
export function rowsOf<T extends Values>(values: T, from: number, to: number): T {
  const views = Object.entries(values).map(([name, { type, data, dims }]) => {
    const size = elementCount(dims.slice(1));
    return [name, { type, data: data.subarray(from * size, to * size), dims: [to - from, ...dims.slice(1)] }];
  });
  return Object.fromEntries(views) as T;
}

/** The buffers that tensors lie in, each once: what moves them to another thread. */
export function buffersOf(...values: readonly Values[]): ArrayBuffer[] {
  const tensors = values.flatMap((some) => Object.values(some));
  return [...new Set(tensors.map(({ data }) => data.buffer as ArrayBuffer))];
}
