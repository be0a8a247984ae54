import { type TensorInput, toFloat32 } from '../base/tensor.js';
import { checkFinite, checkInteger, checkObject, wrongValue } from '../base/validate.js';
import { axesOf, checkFilledTensor, nativeDims, readTensor } from './arguments.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { checkProductRows } from './deviceReduction.js';
import { devicePlace, run } from './place.js';
import { type ReducerCallOptions, runOnHost } from './reduction.js';

export type SelectDiverseOptions = ReducerCallOptions & {
  /** `[batch, tokens]`, or `[tokens]` for one entry: factors of each token's distances. Defaults to 1 for each. */
  readonly weights?: TensorInput;
};

/** Options of {@link selectDiverse} for a {@link DeviceBuffer}. */
export type SelectDiverseOnDeviceOptions = ReducerCallOptions & {
  /** As for tensors, float32 on the same GPU; values are not checked. */
  readonly weights?: DeviceBuffer;
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
  tokens: TensorInput,
  count: number,
  options?: SelectDiverseOptions,
): Promise<Int32Array>;
/** The same on the GPU that holds the tokens, at most 16,384 of an entry; `[batch, count]` int32 that stay there. */
export async function selectDiverse(
  tokens: DeviceBuffer,
  count: number,
  options?: SelectDiverseOnDeviceOptions,
): Promise<DeviceBuffer>;
export async function selectDiverse(
  tokens: TensorInput | DeviceBuffer,
  count: number,
  options: SelectDiverseOptions | SelectDiverseOnDeviceOptions = {},
): Promise<Int32Array | DeviceBuffer> {
  checkObject('options', options);
  if (tokens instanceof DeviceBuffer)
    return await selectOnDevice(tokens, count, options as SelectDiverseOnDeviceOptions);
  const { weights, signal } = options as SelectDiverseOptions;
  const read = readTensor(tokens);
  const tensor = checkFilledTensor('tokens', read, axesOf(read, ['batch', 'tokens', 'channels']));
  const dims = nativeDims(tensor.dims);
  const [batch, all] = dims;
  const factors =
    weights === undefined ? undefined : toFloat32(checkFilledTensor('weights', weights, tensor.dims.slice(0, -1)));
  if (factors) checkFinite('weights', factors, 'Only finite values can be compared.');
  checkInteger('count', count, 1, all);
  const outPicked = new Int32Array(batch * count);
  await runOnHost(signal, { tokens: tensor.data, dims, count, weights: factors?.data, outPicked }, (native, args) =>
    native.selectDiverse(args),
  );
  return outPicked;
}

async function selectOnDevice(
  tokens: DeviceBuffer,
  count: number,
  { weights, signal }: SelectDiverseOnDeviceOptions,
): Promise<DeviceBuffer> {
  const leading = tokens.dims.slice(0, -1);
  const own = devicePlace(tokens.deviceIndex);
  own.checkFloats('tokens', tokens, axesOf(tokens, ['batch', 'tokens', 'channels']));
  const dims = nativeDims(tokens.dims);
  checkInteger('count', count, 1, checkProductRows(tokens, dims));
  if (weights !== undefined) {
    const { type } = own.checkFloats('weights', weights, leading);
    if (type !== 'float32') wrongValue('weights.type', "'float32'", type);
  }
  return await run(
    tokens,
    signal,
    (place) => {
      const result = place.allocate('int32', [...leading.slice(0, -1), count]) as DeviceBuffer;
      const args = { tokens: tokens.native(), dims, count, weights: weights?.native(), outPicked: result.native() };
      return { args, result };
    },
    (native, args) => native.selectDiverse(args),
  );
}
