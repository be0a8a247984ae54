import { type Float32Tensor, float32Tensor, type Tensor } from '../base/tensor.js';
import { checkInteger, checkObject, checkSignal, wrongValue } from '../base/validate.js';
import { runNative } from '../binding.js';
import { checkFilledTensor, nativeDims } from './arguments.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { metricOnDevice } from './deviceKernels.js';

export type TokenMetricOptions = {
  /** Attention heads, a divisor of the channels. */
  readonly heads: number;
  /** Stops the work; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
};

/**
 * What {@link mergeTokens} compares tokens by: the mean of each over its heads. For {@link bipartiteSoftMatching}.
 *
 * Runs off the JavaScript thread. Until the promise settles the tokens are being read: do not write to them.
 *
 * @param tokens `[batch, tokens, channels]`, float32 or float16
 * @returns `[batch, tokens, channels / heads]`, computed in float64 and rounded to float32; not normalised
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; the message says where
 */
export async function tokenMetric(tokens: Tensor, options: TokenMetricOptions): Promise<Float32Tensor>;
/** The same on the GPU that holds the tokens, and the result stays there. */
export async function tokenMetric(tokens: DeviceBuffer, options: TokenMetricOptions): Promise<DeviceBuffer>;
export async function tokenMetric(
  tokens: Tensor | DeviceBuffer,
  options: TokenMetricOptions,
): Promise<Float32Tensor | DeviceBuffer> {
  checkObject('options', options);
  if (tokens instanceof DeviceBuffer) return await metricOnDevice(tokens, options.heads, checkSignal(options.signal));
  checkFilledTensor('tokens', tokens, ['batch', 'tokens', 'channels']);
  const dims = nativeDims(tokens.dims);
  const heads = checkInteger('heads', options.heads, 1);
  if (dims[2] % heads !== 0) wrongValue('heads', `divisor of the ${dims[2]} channels`, heads);
  const width = dims[2] / heads;
  const out = float32Tensor(new Float32Array(dims[0] * dims[1] * width), [dims[0], dims[1], width]);
  const args = { tokens: tokens.data, dims, heads, out: out.data };
  await runNative((native) => native.tokenMetric(args), checkSignal(options.signal));
  return out;
}
