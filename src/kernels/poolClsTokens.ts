import type { Tensor, TensorInput } from '../base/tensor.js';
import { checkObject } from '../base/validate.js';
import { nativeDims } from './arguments.js';
import type { DeviceBuffer } from './deviceBuffer.js';
import { type Placed, run, valuesOf } from './place.js';

export type PoolClsTokensOptions = {
  /** Stops the work; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | null;
};

/**
 * The mean over all frames of the vision tower's class tokens: LongVLM's global semantics.
 *
 * Runs off the JavaScript thread. Do not write to the tensor until the promise settles.
 *
 * @param cls `[frames, layers, channels]`, float32 or float16
 * @returns `[layers, channels]` of the input's type, computed in float64 and rounded at the end
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tensor holds NaN or infinity; the message says where
 */
export async function poolClsTokens(cls: TensorInput, options?: PoolClsTokensOptions): Promise<Tensor>;
/** The same on the GPU that holds the tensor; the result stays on the GPU. */
export async function poolClsTokens(cls: DeviceBuffer, options?: PoolClsTokensOptions): Promise<DeviceBuffer>;
export async function poolClsTokens(
  cls: TensorInput | DeviceBuffer,
  options: PoolClsTokensOptions = {},
): Promise<Placed> {
  checkObject('options', options);
  return await run(
    cls,
    options.signal,
    (place) => {
      const tensor = place.checkFloats('cls', cls, ['frames', 'layers', 'channels']);
      const { type, dims } = tensor;
      const values = valuesOf(tensor);
      const result = place.allocate(type, dims.slice(1));
      return { args: { cls: values, dims: nativeDims(dims), out: valuesOf(result) }, result };
    },
    (native, args) => native.poolClsTokens(args),
  );
}
