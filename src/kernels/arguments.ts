// What the kernels' arguments have in common.

import type { Tensor } from '../base/tensor.js';
import { checkInteger, checkTensor, wrongValue } from '../base/validate.js';
import type { NativeDims } from '../binding.js';

/** Native code counts tokens and channels in 32 bits. */
const largestSize = 2 ** 31 - 1;

/** A tensor of the axes `shape`, none of them empty. */
export function checkFilledTensor(name: string, value: unknown, shape: readonly (string | number)[]): Tensor {
  const tensor = checkTensor(name, value, shape);
  if (tensor.dims.some((size) => size < 1 || size > largestSize))
    throw new RangeError(
      `Expected sizes between 1 and ${largestSize} for ${name}.dims but received [${tensor.dims.join(', ')}]`,
    );
  return tensor;
}

/** A number of attention heads that divides the channels. */
export function checkHeads(heads: unknown, channels: number): number {
  const count = checkInteger('heads', heads, 1);
  if (channels % count !== 0) wrongValue('heads', `divisor of the ${channels} channels`, count);
  return count;
}

/** Three axes as native code takes them; two are those of a single segment. */
export function nativeDims(dims: readonly number[]): NativeDims {
  const [batch, rows, width] = dims.length === 2 ? [1, ...dims] : dims;
  return [batch!, rows!, width!];
}

/** `axes`, the first of which is left out when `value` is a tensor of two axes. */
export function axesOf(value: unknown, axes: readonly [string, string, string]): readonly string[] {
  const dims = (value as { readonly dims?: unknown } | undefined)?.dims;
  return Array.isArray(dims) && dims.length === 2 ? axes.slice(1) : axes;
}
