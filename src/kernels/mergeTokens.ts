import { type Float32Tensor, float32Tensor, type Tensor, type TensorInput } from '../base/tensor.js';
import { checkInteger, checkObject, checkOneOf } from '../base/validate.js';
import { binding, fromNative, type NativeMergeTokensArgs, type NativeTokenMerger } from '../binding.js';
import { axesOf, checkHeads, nativeDims, readTensor } from './arguments.js';
import { chosenDevice, type Device } from './cuda.js';
import { DeviceBuffer, type HostTensor } from './deviceBuffer.js';
import { chooseSchedule, keptTokens } from './mergeSchedule.js';
import { hostPlace, type Place, type Placed, type Prepared, run, valuesOf } from './place.js';

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
  readonly sizes?: TensorInput;
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
  readonly signal?: AbortSignal | null;
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

/** What {@link mergeTokens} gives for a {@link DeviceBuffer}: the same, on its GPU. Each is yours to dispose. */
export type MergedDeviceTokens = {
  /** The merged tokens, `[segments, keep, channels]`, of the input's type. */
  readonly tokens: DeviceBuffer;
  /** How many tokens are in each merged token, `[segments, keep]` float32. */
  readonly sizes: DeviceBuffer;
  /** For each input token the merged token that it is in, `[segments, tokens]` int32. */
  readonly assignment: DeviceBuffer;
};

/**
 * Merges the most similar tokens of each segment, level by level, until few are left: LongVLM's hierarchical token merging.
 *
 * Runs on all cores ({@link concurrency} limits them) and off the JavaScript thread. Until the promise settles the
 * tokens are being read: do not write to them. Their buffer may be transferred away; one that can be resized is refused.
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
export async function mergeTokens(tokens: TensorInput, options: MergeTokensOptions): Promise<MergedTokens>;
/** The same on the GPU that holds the tokens, and the results stay there. */
export async function mergeTokens(tokens: DeviceBuffer, options: MergeDeviceTokensOptions): Promise<MergedDeviceTokens>;
export async function mergeTokens(
  tokens: TensorInput | DeviceBuffer,
  options: MergeTokensOptions | MergeDeviceTokensOptions,
): Promise<MergedTokens | MergedDeviceTokens> {
  checkObject('options', options);
  const copy = { ...readOptions(options), signal: options.signal, sizes: options.sizes };
  if (tokens instanceof DeviceBuffer) return await mergeOnDevice(tokens, copy as MergeDeviceTokensOptions);
  const hostOptions = { ...copy, device: (options as MergeTokensOptions).device } as MergeTokensOptions;
  const index = chosenDevice(hostOptions.device);
  if (index !== undefined) return await mergeThroughDevice(index, tokens, hostOptions);
  return await mergeOnHost(tokens, hostOptions, hostOptions);
}

/** @internal A copy of options: each is read once, as a getter may give something else the next time. */
export function readOptions(options: TokenMergerOptions): TokenMergerOptions {
  const { heads, keep, schedule, protect } = options;
  return { heads, keep, schedule, protect } as TokenMergerOptions;
}

/** @internal Merges on the CPU, off the JavaScript thread. */
export async function mergeOnHost(
  tokens: TensorInput,
  options: TokenMergerOptions,
  call: MergeCallOptions & { readonly signal?: AbortSignal | null },
  merger?: NativeTokenMerger,
): Promise<MergedTokens> {
  return toHost(await mergeWhereItLies(tokens, options, call, merger));
}

async function mergeOnDevice(tokens: DeviceBuffer, options: MergeDeviceTokensOptions): Promise<MergedDeviceTokens> {
  return (await mergeWhereItLies(tokens, options, options)) as MergedDeviceTokens;
}

/** Copies the tokens to a GPU and what they merge to back. */
async function mergeThroughDevice(
  index: number,
  tokens: TensorInput,
  options: MergeTokensOptions,
): Promise<MergedTokens> {
  const checked = checkMerge(hostPlace, tokens, options, options.sizes);
  const { signal } = options;
  const buffers: DeviceBuffer[] = [];
  const upload = async (tensor: Tensor) => {
    const buffer = await DeviceBuffer.upload(tensor, { device: `cuda:${index}`, signal });
    buffers.push(buffer);
    return buffer;
  };
  try {
    const input = await upload(checked.tensor as Tensor);
    const weights = checked.sizes as Float32Array | undefined;
    const sizes = weights && (await upload(float32Tensor(weights, input.dims.slice(0, -1))));
    const merged = await mergeOnDevice(input, { ...options, sizes });
    buffers.push(...Object.values(merged));
    return toHost({
      tokens: await merged.tokens.download({ signal }),
      sizes: await merged.sizes.download({ signal }),
      assignment: await merged.assignment.download({ signal }),
    });
  } finally {
    for (const buffer of buffers) buffer.dispose();
  }
}

/**
 * {@link mergeTokens} at once, on all cores, while the calling thread waits. For scripts and worker threads.
 *
 * @throws as {@link mergeTokens} does
 */
export function mergeTokensSync(tokens: TensorInput, options: MergeTokensSyncOptions): MergedTokens {
  checkObject('options', options);
  const { device = 'auto', sizes } = options;
  checkOneOf('device', device, ['auto', 'cpu']);
  return mergeOnHostSync(tokens, readOptions(options), { sizes } as MergeCallOptions);
}

/** @internal Merges on the CPU while the calling thread waits. */
export function mergeOnHostSync(
  tokens: TensorInput,
  options: TokenMergerOptions,
  call: MergeCallOptions,
  merger?: NativeTokenMerger,
): MergedTokens {
  const { args, result } = prepareMerge(hostPlace, tokens, options, call.sizes, merger);
  try {
    binding().mergeTokensSync(args);
  } catch (error) {
    throw fromNative(error);
  }
  return toHost(result);
}

type Merged<T extends Placed> = { readonly tokens: T; readonly sizes: T; readonly assignment: T };

function toHost({ tokens, sizes, assignment }: Merged<Placed>): MergedTokens {
  return {
    tokens: tokens as Tensor,
    sizes: sizes as Float32Tensor,
    assignment: (assignment as HostTensor).data as Int32Array,
  };
}

async function mergeWhereItLies(
  tokens: TensorInput | DeviceBuffer,
  options: TokenMergerOptions,
  call: { readonly sizes?: TensorInput | DeviceBuffer; readonly signal?: AbortSignal | null },
  merger?: NativeTokenMerger,
): Promise<Merged<Placed>> {
  return await run(
    tokens,
    call.signal,
    (place) => prepareMerge(place, tokens, options, call.sizes, merger),
    (native, args) => native.mergeTokens(args),
  );
}

/** @internal Checks the arguments, whose tensors are in `place`. */
export function checkMerge(place: Place, tokens: unknown, options: TokenMergerOptions, sizes: unknown) {
  const read = place === hostPlace ? readTensor(tokens) : tokens;
  const tensor = place.checkFloats('tokens', read, axesOf(read, ['segments', 'tokens', 'channels']));
  const dims = nativeDims(tensor.dims);
  const [, count, channels] = dims;
  const heads = checkHeads(options.heads, channels);
  const protect = checkInteger('protect', options.protect ?? 0, 0, count);
  const schedule = chooseSchedule(count, protect, options);
  return { tensor, dims, heads, protect, schedule, sizes: place.checkSizes(sizes, tensor.dims.slice(0, -1)) };
}

/** Checks the arguments, and makes the tensors that native code fills. */
function prepareMerge(
  place: Place,
  input: unknown,
  options: TokenMergerOptions,
  sizesInput: unknown,
  merger: NativeTokenMerger | undefined,
): Prepared<NativeMergeTokensArgs, Merged<Placed>> {
  const { tensor, dims, heads, protect, schedule, sizes } = checkMerge(place, input, options, sizesInput);
  const tokens = valuesOf(tensor);
  const [, count, channels] = dims;
  const leading = tensor.dims.slice(0, -2);
  const kept = keptTokens(count, protect, schedule);
  const result = {
    tokens: place.allocate(tensor.type, [...leading, kept, channels]),
    sizes: place.allocate('float32', [...leading, kept]),
    assignment: place.allocate('int32', [...leading, count]),
  };
  const args = {
    merger,
    tokens,
    dims,
    heads,
    schedule,
    protect,
    sizes,
    outTokens: valuesOf(result.tokens),
    outSizes: valuesOf(result.sizes),
    outAssignment: valuesOf(result.assignment),
  };
  return { args, result };
}
