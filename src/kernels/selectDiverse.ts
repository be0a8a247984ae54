import { type Tensor, toFloat32 } from '../base/tensor.js';
import { checkFinite, checkInteger, checkObject } from '../base/validate.js';
import { axesOf, checkFilledTensor, nativeDims, readTensor } from './arguments.js';
import { type ReducerCallOptions, runOnHost } from './reduction.js';

export type SelectDiverseOptions = ReducerCallOptions & {
  /** `[batch, tokens]`, or `[tokens]` for one entry: factors of each token's distances. Defaults to 1 for each. */
  readonly weights?: Tensor;
};

/**
 * Max-min selection: tokens that are far from each other. A token's distance to another is 1 - cosine, times its weight. First
 * the token whose second-smallest distance to the tokens, itself among them, is largest; then again and again the one whose
 * smallest distance to those picked is largest; of equals the lower index. A zero token has cosine 0.
 *
 * @param tokens `[batch, tokens, channels]`, or `[tokens, channels]` for one entry; float32 or float16
 * @param count tokens to pick of each entry, at least 1, at most all
 * @returns `batch × count` token numbers, entry after entry, in the order in which they were picked
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when a tensor holds NaN or infinity; the message says where
 */
export async function selectDiverse(
  tokens: Tensor,
  count: number,
  options: SelectDiverseOptions = {},
): Promise<Int32Array> {
  const { weights, signal } = checkObject('options', options);
  const read = readTensor(tokens);
  const tensor = checkFilledTensor('tokens', read, axesOf(read, ['batch', 'tokens', 'channels']));
  const dims = nativeDims(tensor.dims);
  const [batch, all] = dims;
  const factors = weights && toFloat32(checkFilledTensor('weights', weights, tensor.dims.slice(0, -1)));
  if (factors) checkFinite('weights', factors, 'Only finite values can be compared.');
  checkInteger('count', count, 1, all);
  const outPicked = new Int32Array(batch * count);
  await runOnHost(signal, { tokens: tensor.data, dims, count, weights: factors?.data, outPicked }, (native, args) =>
    native.selectDiverse(args),
  );
  return outPicked;
}
