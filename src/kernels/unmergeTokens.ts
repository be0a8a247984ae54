import type { Tensor, TensorInput } from '../base/tensor.js';
import { checkObject } from '../base/validate.js';
import { axesOf, readTensor } from './arguments.js';
import type { DeviceBuffer } from './deviceBuffer.js';
import { prepareSpread, type UnmergeOptions } from './matching.js';
import { hostPlace, type Placed, run } from './place.js';

/**
 * The inverse of {@link mergeTokens}: copies each merged token, or a value computed from it, to the positions of all tokens
 * that were merged into it.
 *
 * Runs off the JavaScript thread. Do not write to the tensor and the assignment until the promise settles.
 *
 * @param merged `[segments, kept, channels]`, or `[kept, channels]` for one segment; any number of channels
 * @param assignment `segments × tokens` numbers below `kept`, from {@link mergeTokens}
 * @returns `[segments, tokens, channels]`, or `[tokens, channels]`, of the tensor's type
 * @throws TypeError or RangeError when an argument is wrong
 */
export async function unmergeTokens(
  merged: TensorInput,
  assignment: Int32Array,
  options?: UnmergeOptions,
): Promise<Tensor>;
/** The same on a GPU, for results of {@link mergeTokens} on that GPU. */
export async function unmergeTokens(
  merged: DeviceBuffer,
  assignment: DeviceBuffer,
  options?: UnmergeOptions,
): Promise<DeviceBuffer>;
export async function unmergeTokens(
  merged: TensorInput | DeviceBuffer,
  assignment: Int32Array | DeviceBuffer,
  options: UnmergeOptions = {},
): Promise<Placed> {
  checkObject('options', options);
  return await run(
    merged,
    options.signal,
    (place) => {
      const read = place === hostPlace ? readTensor(merged) : merged;
      const tensor = place.checkFloats('merged', read, axesOf(read, ['segments', 'kept', 'channels']));
      const rows = place.checkAssignment(assignment, tensor.dims.slice(0, -2));
      return prepareSpread(place, tensor, rows, assignment);
    },
    (native, args) => native.spreadByAssignment(args),
  );
}
