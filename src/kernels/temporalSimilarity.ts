import { type Float32Tensor, float32Tensor, type Tensor } from '../base/tensor.js';
import { checkObject, checkOneOf } from '../base/validate.js';
import { checkVideoTokens, type ReducerCallOptions, runOnHost } from './reduction.js';

export type TemporalSimilarityOptions = ReducerCallOptions & {
  /** `'place'`: with the patch of the same place. `'best'`: with the most similar patch. Defaults to `'place'`. */
  readonly match?: 'place' | 'best';
};

/** How similar each token is to the frame before. */
export type TemporalSimilarities = {
  /** `[frames - 1, patches]`, cosines, from the second frame on; 0 for a zero token. */
  readonly similarities: Float32Tensor;
  /** `(frames - 1) · patches` patches of the frame before that they are with; of equal ones the lowest. */
  readonly matches: Int32Array;
};

/**
 * The cosine of each token with one of the frame before: of the same place, as EVS compares them, or the most similar, as
 * FlashVID does, without a matrix of all pairs.
 *
 * @param tokens `[frames, patches, channels]`, float32 or float16
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; the message says where
 */
export async function temporalSimilarity(
  tokens: Tensor,
  options: TemporalSimilarityOptions = {},
): Promise<TemporalSimilarities> {
  const { match = 'place', signal } = checkObject('options', options);
  const best = checkOneOf('match', match, ['place', 'best']) === 'best';
  const { tensor, dims, frames, patches } = checkVideoTokens(tokens);
  const outCosines = new Float32Array((frames - 1) * patches);
  const outMatches = new Int32Array(outCosines.length);
  const args = { tokens: tensor.data, dims, best, outCosines, outMatches: best ? outMatches : undefined };
  await runOnHost(signal, args, (native, read) => native.temporalSimilarity(read));
  if (!best) for (let i = 0; i < outMatches.length; i++) outMatches[i] = i % patches;
  return { similarities: float32Tensor(outCosines, [frames - 1, patches]), matches: outMatches };
}
