// What the kernels' arguments have in common.

import { type Tensor, toFloat32 } from '../base/tensor.js';
import { checkTensor, wrongValue } from '../base/validate.js';
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

export function nativeDims(dims: readonly number[]): NativeDims {
  const [batch, rows, width] = dims;
  return [batch!, rows!, width!];
}

/** A tensor of zeros with the element type of `like`. */
export function zerosLike(like: Tensor, dims: readonly number[]): Tensor {
  const length = dims.reduce((product, size) => product * size, 1);
  const data = like.type === 'float32' ? new Float32Array(length) : new Uint16Array(length);
  return { type: like.type, data, dims };
}

/** How much each token counts, in the shape `dims`: finite numbers above 0. */
export function checkSizes(value: unknown, dims: readonly number[]): Float32Array {
  const { data } = toFloat32(checkFilledTensor('sizes', value, dims));
  for (const [index, size] of data.entries()) {
    if (!(size > 0 && size < Number.POSITIVE_INFINITY))
      wrongValue(`sizes.data[${index}]`, 'finite number above 0', size);
  }
  return data;
}
