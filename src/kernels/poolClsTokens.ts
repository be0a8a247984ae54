import type { Tensor } from '../base/tensor.js';
import { checkObject, checkSignal } from '../base/validate.js';
import { runNative } from '../binding.js';
import { checkFilledTensor, nativeDims, zerosLike } from './arguments.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { poolOnDevice } from './deviceKernels.js';

export type PoolClsTokensOptions = {
  /** Stops the work; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
};

/**
 * The mean over all frames of the vision tower's class tokens: LongVLM's global semantics.
 *
 * Runs off the JavaScript thread. Until the promise settles the tensor is being read: do not write to it.
 *
 * @param cls `[frames, layers, channels]`, float32 or float16
 * @returns `[layers, channels]` of the input's type, computed in float64 and rounded at the end
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tensor holds NaN or infinity; the message says where
 */
export async function poolClsTokens(cls: Tensor, options?: PoolClsTokensOptions): Promise<Tensor>;
/** The same on the GPU that holds the tensor, and the result stays there. */
export async function poolClsTokens(cls: DeviceBuffer, options?: PoolClsTokensOptions): Promise<DeviceBuffer>;
export async function poolClsTokens(
  cls: Tensor | DeviceBuffer,
  options: PoolClsTokensOptions = {},
): Promise<Tensor | DeviceBuffer> {
  checkObject('options', options);
  if (cls instanceof DeviceBuffer) return await poolOnDevice(cls, checkSignal(options.signal));
  checkFilledTensor('cls', cls, ['frames', 'layers', 'channels']);
  const out = zerosLike(cls, cls.dims.slice(1));
  const args = { cls: cls.data, dims: nativeDims(cls.dims), out: out.data };
  await runNative((native) => native.poolClsTokens(args), checkSignal(options.signal));
  return out;
}
