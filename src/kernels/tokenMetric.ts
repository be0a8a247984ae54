import type { Float32Tensor, TensorInput } from '../base/tensor.js';
import { checkObject } from '../base/validate.js';
import { checkHeads, nativeDims } from './arguments.js';
import type { DeviceBuffer } from './deviceBuffer.js';
import { type Placed, run, valuesOf } from './place.js';

export type TokenMetricOptions = {
  /** Attention heads, a divisor of the channels. */
  readonly heads: number;
  /** Stops the work; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | null;
};

/**
 * The metric by which {@link mergeTokens} compares tokens: the mean of each token over its heads. Pass it to
 * {@link bipartiteSoftMatching}.
 *
 * Runs off the JavaScript thread. Do not write to the tokens until the promise settles.
 *
 * @param tokens `[batch, tokens, channels]`, float32 or float16
 * @returns `[batch, tokens, channels / heads]`, computed in float64 and rounded to float32; not normalised
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; the message says where
 */
export async function tokenMetric(tokens: TensorInput, options: TokenMetricOptions): Promise<Float32Tensor>;
/** The same on the GPU that holds the tokens; the result stays on the GPU. */
export async function tokenMetric(tokens: DeviceBuffer, options: TokenMetricOptions): Promise<DeviceBuffer>;
export async function tokenMetric(tokens: TensorInput | DeviceBuffer, options: TokenMetricOptions): Promise<Placed> {
  checkObject('options', options);
  return await run(
    tokens,
    options.signal,
    (place) => {
      const tensor = place.checkFloats('tokens', tokens, ['batch', 'tokens', 'channels']);
      const dims = nativeDims(tensor.dims);
      const [batch, count, channels] = dims;
      const heads = checkHeads(options.heads, channels);
      const values = valuesOf(tensor);
      const result = place.allocate('float32', [batch, count, channels / heads]);
      return { args: { tokens: values, dims, heads, out: valuesOf(result) }, result };
    },
    (native, args) => native.tokenMetric(args),
  );
}
