import type { Tensor } from '../base/tensor.js';
import { checkObject, checkSignal, wrongType, wrongValue } from '../base/validate.js';
import { runNative } from '../binding.js';
import { checkFilledTensor, nativeDims, zerosLike } from './arguments.js';
import type { UnmergeOptions } from './bipartiteSoftMatching.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { spreadOnDevice } from './deviceKernels.js';

/**
 * The way back from {@link mergeTokens}: copies each merged token, or what became of it, to every place that it came from.
 *
 * Runs off the JavaScript thread. Until the promise settles the tensor and the assignment are being read: do not write
 * to them.
 *
 * @param merged `[segments, kept, channels]`, or `[kept, channels]` for one segment; any number of channels
 * @param assignment `segments × tokens` numbers below `kept`, as {@link mergeTokens} gave them
 * @returns `[segments, tokens, channels]`, or `[tokens, channels]`, of the tensor's type
 * @throws TypeError or RangeError when an argument is wrong
 */
export async function unmergeTokens(merged: Tensor, assignment: Int32Array, options?: UnmergeOptions): Promise<Tensor>;
/** The same on a GPU, for what {@link mergeTokens} gave there. */
export async function unmergeTokens(
  merged: DeviceBuffer,
  assignment: DeviceBuffer,
  options?: UnmergeOptions,
): Promise<DeviceBuffer>;
export async function unmergeTokens(
  merged: Tensor | DeviceBuffer,
  assignment: Int32Array | DeviceBuffer,
  options: UnmergeOptions = {},
): Promise<Tensor | DeviceBuffer> {
  checkObject('options', options);
  const single = Array.isArray(merged?.dims) && merged.dims.length === 2;
  const shape = single ? ['kept', 'channels'] : ['segments', 'kept', 'channels'];
  if (merged instanceof DeviceBuffer) {
    if (!(assignment instanceof DeviceBuffer)) wrongType('assignment', 'DeviceBuffer', assignment);
    return await spreadOnDevice('merged', merged, assignment, shape, checkSignal(options.signal));
  }
  checkFilledTensor('merged', merged, shape);
  const dims = nativeDims(single ? [1, ...merged.dims] : merged.dims);
  if (!(assignment instanceof Int32Array)) wrongType('assignment', 'Int32Array', assignment);
  if (assignment.length === 0 || assignment.length % dims[0] !== 0)
    wrongValue('assignment.length', `positive multiple of the ${dims[0]} segments`, assignment.length);
  const rows = assignment.length / dims[0];
  const out = zerosLike(merged, [...(single ? [] : [dims[0]]), rows, dims[2]]);
  const args = { tensor: merged.data, dims, rows, assignment, out: out.data };
  await runNative((native) => native.spreadByAssignment(args), checkSignal(options.signal));
  return out;
}
