import { type Float32Tensor, float32Tensor, type Tensor } from '../base/tensor.js';
import { checkInteger, checkObject, checkOneOf, checkSignal, wrongValue } from '../base/validate.js';
import { binding, fromNative, type NativeMergeTokensArgs, type NativeTokenMerger, runNative } from '../binding.js';
import { checkFilledTensor, checkSizes, nativeDims, zerosLike } from './arguments.js';
import type { Device } from './cuda.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { chosenDevice, type MergedDeviceTokens, mergeOnDevice, throughDevice } from './deviceKernels.js';
import { chooseSchedule, keptTokens } from './mergeSchedule.js';

/** How to merge: what a {@link TokenMerger} does to all tokens that it gets. */
export type TokenMergerOptions = {
  /**
   * Attention heads of the vision tower, a divisor of the channels. Tokens are compared by their mean over the heads.
   */
  readonly heads: number;
  /** Tokens to keep of each segment, between 1 and all, the protected among them. Give this or `schedule`. */
  readonly keep?: number;
  /**
   * Tokens to merge away at each level, integers of at least 0; a level merges at most half of the tokens that are left
   * beside the protected. Give this or `keep`, which stands for `mergeSchedule(tokens - protect, keep - protect)`.
   */
  readonly schedule?: readonly number[];
  /**
   * Leading tokens of each segment that are left as they are, in front: a class token, say. They count when tokens are
   * told to be even or odd.
   *
   * Defaults to `0`.
   */
  readonly protect?: number;
};

/** What is told of the tokens themselves. */
export type MergeCallOptions = {
  /**
   * How many tokens each input token is the mean of, `[segments, tokens]` above 0: what an earlier merge gave as its
   * `sizes`. Means are weighted by them.
   *
   * Defaults to 1 for each.
   */
  readonly sizes?: Tensor;
};

export type MergeTokensSyncOptions = TokenMergerOptions &
  MergeCallOptions & {
    /**
     * Where to compute: only the CPU works while the calling thread waits.
     *
     * Defaults to `'auto'`: the CPU.
     */
    readonly device?: 'auto' | 'cpu';
  };

type AsyncOptions = TokenMergerOptions & {
  /** Stops the work; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
};

export type MergeTokensOptions = AsyncOptions &
  MergeCallOptions & {
    /**
     * Where to compute. On a GPU the tokens are copied there and the results back; to keep data there from call to call,
     * give a {@link DeviceBuffer}.
     *
     * Defaults to `'auto'`: where the tokens are, so the CPU for tensors.
     */
    readonly device?: 'auto' | Device;
  };

/** Options of {@link mergeTokens} for a {@link DeviceBuffer}. */
export type MergeDeviceTokensOptions = AsyncOptions & {
  /** As for tensors, `[segments, tokens]` float32 on the same GPU; values are not checked. */
  readonly sizes?: DeviceBuffer;
};

/** What {@link mergeTokens} gives. `[segments, …]` is without its first axis when the input was. */
export type MergedTokens = {
  /**
   * The merged tokens, `[segments, keep, channels]`: each the mean of the input tokens in it. Of the input's type; computed
   * in float64 and rounded at the end.
   */
  readonly tokens: Tensor;
  /** How many tokens are in each merged token, `[segments, keep]`: the sum of their `sizes`. */
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
 * to nothing. The result is the same to the last bit on every CPU and with any number of threads.
 *
 * Calls that follow each other share scratch memory (3 MB a thread for segments of 2,560 tokens in 64 metric values).
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
export async function mergeTokens(tokens: Tensor, options: MergeTokensOptions): Promise<MergedTokens>;
/** The same on the GPU that holds the tokens, and the results stay there. */
export async function mergeTokens(tokens: DeviceBuffer, options: MergeDeviceTokensOptions): Promise<MergedDeviceTokens>;
export async function mergeTokens(
  tokens: Tensor | DeviceBuffer,
  options: MergeTokensOptions | MergeDeviceTokensOptions,
): Promise<MergedTokens | MergedDeviceTokens> {
  checkObject('options', options);
  if (tokens instanceof DeviceBuffer) return await mergeOnDevice(tokens, options, checkSignal(options.signal));
  const { device, ...hostOptions } = options as MergeTokensOptions;
  const index = chosenDevice(device);
  const { args, result } = prepareMerge(tokens, hostOptions, hostOptions);
  const signal = checkSignal(options.signal);
  if (index !== undefined) return await mergeThroughDevice(index, tokens, hostOptions, signal);
  await runNative((native) => native.mergeTokens(args), signal);
  return result;
}

async function mergeThroughDevice(
  index: number,
  tokens: Tensor,
  options: MergeTokensOptions,
  signal: AbortSignal | undefined,
): Promise<MergedTokens> {
  return await throughDevice(index, [tokens, options.sizes], signal, async ([buffer, sizes], own) => {
    const merged = await mergeOnDevice(buffer!, { ...options, sizes }, signal);
    const download = async (from: DeviceBuffer) => await own(from).download();
    return {
      tokens: (await download(merged.tokens)) as Tensor,
      sizes: (await download(merged.sizes)) as Float32Tensor,
      assignment: (await download(merged.assignment)).data as Int32Array,
    };
  });
}

/**
 * {@link mergeTokens} at once, on all cores, while the calling thread waits. For scripts and worker threads.
 *
 * @throws as {@link mergeTokens} does
 */
export function mergeTokensSync(tokens: Tensor, options: MergeTokensSyncOptions): MergedTokens {
  checkObject('options', options);
  checkOneOf('device', options.device ?? 'auto', ['auto', 'cpu']);
  const { args, result } = prepareMerge(tokens, options, options);
  mergeNowInto(args);
  return result;
}

/** @internal Merges on the calling thread. */
export function mergeNowInto(args: NativeMergeTokensArgs): void {
  try {
    binding().mergeTokensSync(args);
  } catch (error) {
    throw fromNative(error);
  }
}

/** @internal Checks the arguments, and makes the arrays that native code fills. */
export function prepareMerge(
  tokens: Tensor,
  options: TokenMergerOptions,
  call: MergeCallOptions,
  merger?: NativeTokenMerger,
): { args: NativeMergeTokensArgs; result: MergedTokens } {
  const single = Array.isArray(tokens?.dims) && tokens.dims.length === 2;
  checkFilledTensor('tokens', tokens, single ? ['tokens', 'channels'] : ['segments', 'tokens', 'channels']);
  const dims = nativeDims(single ? [1, ...tokens.dims] : tokens.dims);
  const [segments, count, channels] = dims;
  const heads = checkInteger('heads', options.heads, 1);
  if (channels % heads !== 0) wrongValue('heads', `divisor of the ${channels} channels`, heads);
  const protect = checkInteger('protect', options.protect ?? 0, 0, count);
  const schedule = chooseSchedule(count, protect, options);
  const kept = keptTokens(count, protect, schedule);
  const leading = single ? [] : [segments];
  const sizes = call.sizes === undefined ? undefined : checkSizes(call.sizes, [...leading, count]);
  const result = {
    tokens: zerosLike(tokens, [...leading, kept, channels]),
    sizes: float32Tensor(new Float32Array(segments * kept), [...leading, kept]),
    assignment: new Int32Array(segments * count),
  };
  const args = {
    merger,
    tokens: tokens.data,
    dims,
    heads,
    schedule,
    protect,
    sizes,
    outTokens: result.tokens.data,
    outSizes: result.sizes.data,
    outAssignment: result.assignment,
  };
  return { args, result };
}
