import { type Float32Tensor, float32Tensor } from '../base/tensor.js';

/** Tensors [any, channels], one behind the other. */
export function concatenated(parts: readonly Float32Tensor[], channels: number): Float32Tensor {
  const count = parts.reduce((sum, { dims }) => sum + dims[0]!, 0);
  const data = new Float32Array(count * channels);
  let at = 0;
  for (const part of parts) {
    data.set(part.data, at);
    at += part.data.length;
  }
  return float32Tensor(data, [count, channels]);
}

/** Rows of [count, channels], by their indices. */
export function rowsOf({ data, dims }: Float32Tensor, indices: Int32Array): Float32Tensor {
  const channels = dims[1]!;
  const rows = new Float32Array(indices.length * channels);
  for (const [at, index] of indices.entries())
    rows.set(data.subarray(index * channels, (index + 1) * channels), at * channels);
  return float32Tensor(rows, [indices.length, channels]);
}
