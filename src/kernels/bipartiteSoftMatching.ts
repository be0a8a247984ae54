import type { TensorInput } from '../base/tensor.js';
import { checkInteger, checkObject } from '../base/validate.js';
import { nativeDims } from './arguments.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { DeviceMatching, Matching, type UnmergeOptions } from './matching.js';
import { run, valuesOf } from './place.js';

export type BipartiteSoftMatchingOptions = UnmergeOptions & {
  /**
   * Leading tokens that are never merged, such as a class token. They count when even and odd tokens are numbered.
   *
   * Defaults to `0`.
   */
  readonly protect?: number;
};

/**
 * Finds which tokens to merge: a single step of token merging, over any metric.
 *
 * Each even token is matched with the odd token most similar to it (cosine); the r most similar pairs will be merged. On
 * ties the lower index comes first. A zero row is similar to nothing. With `r` 0 no token is merged or moved.
 *
 * Runs on all cores, off the JavaScript thread. Do not write to the metric until the promise settles.
 *
 * @param metric `[batch, tokens, dims]`, float32 or float16; rows need not be normalised
 * @param r tokens to merge away, at least 0; at most half of the unprotected tokens are merged
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the metric holds NaN or infinity; the message says where
 *
 * @example
 * const matching = await bipartiteSoftMatching(keys, 16);
 * const merged = await matching.merge(tokens);
 */
export async function bipartiteSoftMatching(
  metric: TensorInput,
  r: number,
  options?: BipartiteSoftMatchingOptions,
): Promise<Matching>;
/** The same on the GPU that holds the metric. */
export async function bipartiteSoftMatching(
  metric: DeviceBuffer,
  r: number,
  options?: BipartiteSoftMatchingOptions,
): Promise<DeviceMatching>;
export async function bipartiteSoftMatching(
  metric: TensorInput | DeviceBuffer,
  r: number,
  options: BipartiteSoftMatchingOptions = {},
): Promise<Matching | DeviceMatching> {
  checkObject('options', options);
  return await run(
    metric,
    options.signal,
    (place) => {
      const tensor = place.checkFloats('metric', metric, ['batch', 'tokens', 'dims']);
      const dims = nativeDims(tensor.dims);
      const [batch, inputTokens] = dims;
      checkInteger('r', r, 0);
      const protect = checkInteger('protect', options.protect ?? 0, 0, inputTokens);
      const merged = Math.min(r, Math.floor((inputTokens - protect) / 2));
      const stay = Math.ceil(inputTokens / 2) - Math.ceil(protect / 2) - merged;
      const values = valuesOf(tensor);
      const indices = (each: number) => (each === 0 ? undefined : place.allocate('int32', [batch, each]));
      const found = {
        unmerged: indices(stay),
        source: indices(merged),
        destination: indices(merged),
        assignment: place.allocate('int32', [batch, inputTokens]),
      };
      const args = {
        metric: values,
        dims,
        r: merged,
        protect,
        outUnmerged: found.unmerged && valuesOf(found.unmerged),
        outSource: found.source && valuesOf(found.source),
        outDestination: found.destination && valuesOf(found.destination),
        outAssignment: valuesOf(found.assignment),
      };
      const Kind = metric instanceof DeviceBuffer ? DeviceMatching : Matching;
      return { args, result: new Kind({ batch, inputTokens, protect, r: merged }, found) };
    },
    (native, args) => native.bipartiteSoftMatching(args),
  );
}
