import { binding, fromNative, type NativeMergeTokensArgs, runNative } from '../binding.js';
import { type Float32Tensor, float32Tensor, type Tensor } from '../tensor.js';
import { checkInteger, checkObject, checkOneOf, checkSignal, wrongValue } from '../validate.js';
import { checkFilledTensor, nativeDims, zerosLike } from './arguments.js';
import { checkSchedule, keptTokens, mergeSchedule } from './mergeSchedule.js';

export type MergeTokensSyncOptions = {
  /**
   * Attention heads of the vision tower, a divisor of the channels. Tokens are compared by their mean over the heads.
   */
  readonly heads: number;
  /** Tokens to keep of each segment, between 1 and all. Give this or `schedule`. */
  readonly keep?: number;
  /**
   * Tokens to merge away at each level, integers of at least 0; a level merges at most half of the tokens that are left.
   * Give this or `keep`, which stands for `mergeSchedule(tokens, keep)`.
   */
  readonly schedule?: readonly number[];
  /**
   * Where to compute.
   *
   * Defaults to `'auto'`: the fastest device there is.
   */
  readonly device?: 'auto' | 'cpu';
};

export type MergeTokensOptions = MergeTokensSyncOptions & {
  /** Stops the work; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
};

/** What {@link mergeTokens} gives. `[segments, …]` is without its first axis when the input was. */
export type MergedTokens = {
  /**
   * The merged tokens, `[segments, keep, channels]`: each the plain mean of the input tokens in it. Of the input's type;
   * computed in float64 and rounded at the end.
   */
  readonly tokens: Tensor;
  /** How many input tokens are in each merged token, `[segments, keep]`. */
  readonly sizes: Float32Tensor;
  /** For each input token the merged token that it is in, `segments × tokens` numbers below `keep`. */
  readonly assignment: Int32Array;
};

/**
 * Merges the most similar tokens of each segment, level by level, until few are left: LongVLM's hierarchical token merging.
 *
 * Runs on all cores (`LONGVLM_NUM_THREADS` limits them) and off the JavaScript thread. Until the promise settles the
 * tokens are being read: do not write to them, nor transfer or resize their buffer.
 *
 * The tokens that are most similar to another are merged first; of equal ones the lower index. A zero token is similar
 * to nothing.
 *
 * @param tokens `[segments, tokens, channels]`, or `[tokens, channels]` for one segment; float32 or float16
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; the message says where
 *
 * @example
 * const patches = { type: 'float32', data: new Float32Array(10 * 2560 * 1024), dims: [10, 2560, 1024] };
 * const merged = await mergeTokens(patches, { heads: 16, keep: 30 });
 * merged.tokens.dims; // [10, 30, 1024]
 */
export async function mergeTokens(tokens: Tensor, options: MergeTokensOptions): Promise<MergedTokens> {
  const { args, result } = prepare(tokens, options);
  await runNative((native) => native.mergeTokens(args), checkSignal(options.signal));
  return result;
}

/**
 * {@link mergeTokens} at once, on all cores, while the calling thread waits. For scripts and worker threads.
 *
 * @throws as {@link mergeTokens} does
 */
export function mergeTokensSync(tokens: Tensor, options: MergeTokensSyncOptions): MergedTokens {
  const { args, result } = prepare(tokens, options);
  try {
    binding().mergeTokensSync(args);
  } catch (error) {
    throw fromNative(error);
  }
  return result;
}

/** Checks the arguments, and makes the arrays that native code fills. */
function prepare(
  tokens: Tensor,
  options: MergeTokensSyncOptions,
): { args: NativeMergeTokensArgs; result: MergedTokens } {
  const single = Array.isArray(tokens?.dims) && tokens.dims.length === 2;
  checkFilledTensor('tokens', tokens, single ? ['tokens', 'channels'] : ['segments', 'tokens', 'channels']);
  checkObject('options', options);
  checkOneOf('device', options.device ?? 'auto', ['auto', 'cpu']);
  const dims = nativeDims(single ? [1, ...tokens.dims] : tokens.dims);
  const [segments, count, channels] = dims;
  const heads = checkInteger('heads', options.heads, 1);
  if (channels % heads !== 0) wrongValue('heads', `divisor of the ${channels} channels`, heads);
  const schedule = chooseSchedule(count, options);
  const kept = keptTokens(count, schedule);
  const leading = single ? [] : [segments];
  const result = {
    tokens: zerosLike(tokens, [...leading, kept, channels]),
    sizes: float32Tensor(new Float32Array(segments * kept), [...leading, kept]),
    assignment: new Int32Array(segments * count),
  };
  const args = {
    tokens: tokens.data,
    dims,
    heads,
    schedule,
    outTokens: result.tokens.data,
    outSizes: result.sizes.data,
    outAssignment: result.assignment,
  };
  return { args, result };
}

function chooseSchedule(tokens: number, { keep, schedule }: MergeTokensSyncOptions): readonly number[] {
  if ((keep === undefined) === (schedule === undefined))
    throw new TypeError(
      `Expected either keep or schedule in options but received ${keep === undefined ? 'neither' : 'both'}`,
    );
  return keep === undefined ? checkSchedule(schedule) : mergeSchedule(tokens, keep);
}
