// Checks that the kernels' arguments share.

import type { Tensor } from '../base/tensor.js';
import { checkInteger, checkTensor, isArray, isReadable, wrongValue } from '../base/validate.js';
import type { NativeDims } from '../binding.js';

/** Native code counts tokens and channels in 32 bits. */
const largestSize = 2 ** 31 - 1;

/** Checks a tensor with the axes `shape`, none of which may be empty. */
export function checkFilledTensor(name: string, value: unknown, shape: readonly (string | number)[]): Tensor {
  const tensor = checkTensor(name, value, shape);
  if (tensor.dims.some((size) => size < 1 || size > largestSize))
    throw new RangeError(
      `Expected sizes between 1 and ${largestSize} for ${name}.dims but received [${tensor.dims.join(', ')}]`,
    );
  return tensor;
}

/** Checks that the number of attention heads divides the channels. */
export function checkHeads(heads: unknown, channels: number): number {
  const count = checkInteger('heads', heads, 1);
  if (channels % count !== 0) wrongValue('heads', `divisor of the ${channels} channels`, count);
  return count;
}

/** Converts dims to the three axes that native code takes; two axes describe a single segment. */
export function nativeDims(dims: readonly number[]): NativeDims {
  const [batch, rows, width] = dims.length === 2 ? [1, ...dims] : dims;
  return [batch!, rows!, width!];
}

/** A tensor whose properties were read once, unchecked; anything else as it is. */
export function readTensor(value: unknown): unknown {
  if (!isReadable(value)) return value;
  const { type, data, dims } = value as Partial<Tensor>;
  return { type, data, dims };
}

/** The expected axes of `value`: `axes`, without the first if `value` is a tensor of two axes. */
export function axesOf(value: unknown, axes: readonly [string, string, string]): readonly string[] {
  const dims = isReadable(value) ? (value as { readonly dims?: unknown }).dims : undefined;
  return isArray(dims) && dims.length === 2 ? axes.slice(1) : axes;
}
