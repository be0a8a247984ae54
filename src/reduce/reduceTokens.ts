// What merging is compared with: the plain ways to make few tokens of many.
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import { checkFinite } from '../base/validate.js';

/** How a segment's tokens become few; see {@link LongVLMOptions.reduction}. */
export type Reduction = 'merge' | 'pool' | 'subsample';

export const reductions = ['merge', 'pool', 'subsample'] as const satisfies readonly Reduction[];

/**
 * Reduces the P tokens of a segment, in frame order, to `keep` without looking at what they hold.
 *
 * `pool`: token i is the mean of those from floor(i·P / keep) up to, not including, floor((i + 1)·P / keep), summed in
 * float64. `subsample`: token i is token floor((i + 0.5)·P / keep) as it is.
 *
 * @param tokens [P, C]
 * @param keep from 1 to P
 * @returns tokens [keep, C], and sizes [keep]: how many tokens each stands for
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity
 */
export function reduceTokens(
  tokens: Float32Tensor,
  keep: number,
  how: Exclude<Reduction, 'merge'>,
): { tokens: Float32Tensor; sizes: Float32Tensor } {
  checkFinite('tokens', tokens, 'Check the weights that they come from.');
  const [count, channels] = tokens.dims as [number, number];
  const row = (index: number) => tokens.data.subarray(index * channels, (index + 1) * channels);
  const reduced = new Float32Array(keep * channels);
  const sizes = new Float32Array(keep);
  for (let i = 0; i < keep; i++) {
    const from = how === 'pool' ? Math.floor((i * count) / keep) : Math.floor(((2 * i + 1) * count) / (2 * keep));
    const to = how === 'pool' ? Math.floor(((i + 1) * count) / keep) : from + 1;
    const sums = new Float64Array(channels);
    for (let token = from; token < to; token++) {
      const values = row(token);
      for (let channel = 0; channel < channels; channel++) sums[channel]! += values[channel]!;
    }
    sizes[i] = to - from;
    reduced.set(
      sums.map((sum) => sum / (to - from)),
      i * channels,
    );
  }
  return { tokens: float32Tensor(reduced, [keep, channels]), sizes: float32Tensor(sizes, [keep]) };
}
