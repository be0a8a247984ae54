import { type TensorInput, toFloat32 } from '../base/tensor.js';
import { checkInteger, checkObject, isArray, wrongType, wrongValue } from '../base/validate.js';
import { checkFilledTensor } from './arguments.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { withIntegers } from './deviceReduction.js';
import { run } from './place.js';
import { type ReducerCallOptions, runOnHost } from './reduction.js';

/**
 * The tokens of each frame with the highest scores; of equal scores the lower index.
 *
 * @param scores `[frames, patches]`, float32 or float16
 * @param budget how many of each frame, at most its patches: one number for all, or one for each
 * @returns their positions among all `frames · patches` tokens, ascending
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the scores hold NaN or infinity; the message says where
 */
export async function selectTopK(
  scores: TensorInput,
  budget: number | ArrayLike<number>,
  options?: ReducerCallOptions,
): Promise<Int32Array>;
/**
 * The same on the GPU that holds the scores, float32; the budgets are copied there, and the positions, int32, stay there. At
 * least one score must be asked for.
 */
export async function selectTopK(
  scores: DeviceBuffer,
  budget: number | ArrayLike<number>,
  options?: ReducerCallOptions,
): Promise<DeviceBuffer>;
export async function selectTopK(
  scores: TensorInput | DeviceBuffer,
  budget: number | ArrayLike<number>,
  options: ReducerCallOptions = {},
): Promise<Int32Array | DeviceBuffer> {
  const { signal } = checkObject('options', options);
  if (scores instanceof DeviceBuffer) return await selectOnDevice(scores, budget, signal);
  const { data, dims } = toFloat32(checkFilledTensor('scores', scores, ['frames', 'patches']));
  const [frames, patches] = dims as [number, number];
  const budgets = checkBudgets(budget, frames, patches);
  const total = budgets.reduce((sum, count) => sum + count, 0);
  const outIndices = new Int32Array(total);
  const args = { scores: data, dims: [1, frames, patches] as const, budgets, total, outIndices };
  await runOnHost(signal, args, (native, read) => native.selectTopK(read));
  return outIndices;
}

async function selectOnDevice(
  scores: DeviceBuffer,
  budget: number | ArrayLike<number>,
  signal: AbortSignal | null | undefined,
): Promise<DeviceBuffer> {
  if (scores.type !== 'float32') wrongValue('scores.type', "'float32'", scores.type);
  if (scores.dims.length !== 2)
    throw new RangeError(`Expected shape [frames, patches] for scores but received [${scores.dims.join(', ')}]`);
  const [frames, patches] = scores.dims as [number, number];
  const budgets = checkBudgets(budget, frames, patches);
  const total = budgets.reduce((sum, count) => sum + count, 0);
  if (total === 0) wrongValue('budget', 'at least one token of all frames on a GPU', 0);
  return await withIntegers(scores, budgets, signal, (buffer) =>
    run(
      scores,
      signal,
      (place) => {
        const result = place.allocate('int32', [total]) as DeviceBuffer;
        const dims = [1, frames, patches] as const;
        const args = { scores: scores.native(), dims, budgets: buffer.native(), total, outIndices: result.native() };
        return { args, result };
      },
      (native, args) => native.selectTopK(args),
    ),
  );
}

function checkBudgets(budget: unknown, frames: number, patches: number): Int32Array {
  if (typeof budget === 'number') return new Int32Array(frames).fill(checkInteger('budget', budget, 0, patches));
  if (!isArray(budget) && !ArrayBuffer.isView(budget)) wrongType('budget', 'integer, or an array of them', budget);
  const { length } = budget as ArrayLike<unknown>;
  if (length !== frames) wrongValue('budget.length', `${frames}, one for each frame,`, length);
  return Int32Array.from(budget as ArrayLike<unknown>, (count, frame) =>
    checkInteger(`budget[${frame}]`, count, 0, patches),
  );
}
