import type { Tensor } from '../base/tensor.js';
import { checkInteger, checkObject, checkOneOf, checkSignal } from '../base/validate.js';
import { type NativeDims, runNative } from '../binding.js';
import { checkFilledTensor, checkSizes, nativeDims, zerosLike } from './arguments.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { type DeviceMatching, matchDevice } from './deviceMatching.js';

/** Options of {@link Matching.unmerge}. */
export type UnmergeOptions = {
  /** Stops the work; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
};

export type BipartiteSoftMatchingOptions = UnmergeOptions & {
  /**
   * Leading tokens that take no part: a class token, say. They count when tokens are told to be even or odd.
   *
   * Defaults to `0`.
   */
  readonly protect?: number;
};

export type MergeOptions = UnmergeOptions & {
  /**
   * How much each token counts, `[batch, tokens]` above 0: how many tokens were merged into it before.
   *
   * Defaults to 1 for each.
   */
  readonly sizes?: Tensor;
  /**
   * `'mean'`: sum(token · size) / sum(size). `'sum'`: sum(token · size); in float16 a sum beyond 65504 becomes infinity.
   *
   * Defaults to `'mean'`.
   */
  readonly mode?: 'mean' | 'sum';
};

/**
 * Which tokens to merge with which, as {@link bipartiteSoftMatching} found. It fits any tensor of as many tokens.
 *
 * The even tokens of a batch entry are A, the odd ones B, without those that are protected. The index arrays hold token
 * numbers, entry after entry.
 */
export class Matching {
  /** Entries of the batch. */
  readonly batch: number;
  /** Tokens in each entry before merging. */
  readonly inputTokens: number;
  /** Leading tokens of each entry that stay as they are. */
  readonly protect: number;
  /** Tokens of each entry that are merged away: the number asked for, at most half of those not protected. */
  readonly r: number;
  /** Tokens that are left of each entry: the protected, then those of `unmerged`, then all of B in its own order. */
  readonly tokens: number;
  /** The tokens of A that stay, `batch × (|A| - r)`, most similar to B first. */
  readonly unmerged: Int32Array;
  /** The tokens of A that are merged away, `batch × r`, most similar first. */
  readonly source: Int32Array;
  /** The token of B that each of `source` goes into, `batch × r`. */
  readonly destination: Int32Array;
  /** For each token its place after merging, `batch × inputTokens` numbers below `tokens`. */
  readonly assignment: Int32Array;

  /** @internal */
  constructor(batch: number, inputTokens: number, protect: number, r: number) {
    this.batch = batch;
    this.inputTokens = inputTokens;
    this.protect = protect;
    this.r = r;
    this.tokens = inputTokens - r;
    this.unmerged = new Int32Array(batch * (Math.ceil(inputTokens / 2) - Math.ceil(protect / 2) - r));
    this.source = new Int32Array(batch * r);
    this.destination = new Int32Array(batch * r);
    this.assignment = new Int32Array(batch * inputTokens);
  }

  /**
   * Merges a tensor's tokens. Until the promise settles the tensor is being read: do not write to it.
   *
   * To follow the sizes through several steps, merge them too: `[batch, inputTokens, 1]` in mode `'sum'`.
   *
   * @param tensor `[batch, inputTokens, channels]`
   * @returns `[batch, tokens, channels]` of the tensor's type, computed in float64 and rounded at the end
   * @throws TypeError or RangeError when an argument is wrong
   * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tensor holds NaN or infinity; the message says where
   */
  async merge(tensor: Tensor, options: MergeOptions = {}): Promise<Tensor> {
    checkFilledTensor('tensor', tensor, [this.batch, this.inputTokens, 'channels']);
    checkObject('options', options);
    const sizes = options.sizes === undefined ? undefined : checkSizes(options.sizes, [this.batch, this.inputTokens]);
    const mean = checkOneOf('mode', options.mode ?? 'mean', ['mean', 'sum']) === 'mean';
    const out = zerosLike(tensor, [this.batch, this.tokens, tensor.dims[2]!]);
    const args = {
      tensor: tensor.data,
      dims: nativeDims(tensor.dims),
      slots: this.tokens,
      assignment: this.assignment,
      sizes,
      mean,
      out: out.data,
    };
    await runNative((native) => native.mergeByAssignment(args), checkSignal(options.signal));
    return out;
  }

  /**
   * The way back: copies each merged token to every place that it came from.
   * Until the promise settles the tensor is being read: do not write to it.
   *
   * @param tensor `[batch, tokens, channels]`
   * @returns `[batch, inputTokens, channels]` of the tensor's type
   * @throws TypeError or RangeError when an argument is wrong
   */
  async unmerge(tensor: Tensor, options: UnmergeOptions = {}): Promise<Tensor> {
    checkFilledTensor('tensor', tensor, [this.batch, this.tokens, 'channels']);
    checkObject('options', options);
    const out = zerosLike(tensor, [this.batch, this.inputTokens, tensor.dims[2]!]);
    const args = {
      tensor: tensor.data,
      dims: nativeDims(tensor.dims),
      rows: this.inputTokens,
      assignment: this.assignment,
      out: out.data,
    };
    await runNative((native) => native.spreadByAssignment(args), checkSignal(options.signal));
    return out;
  }
}

/**
 * Finds which tokens to merge: a single step of token merging, over any metric.
 *
 * Each even token is matched with the odd token most similar to it (cosine); the r most similar even tokens are to be
 * merged. Of equal similarities the lower index comes first. A zero row is similar to nothing. With `r` 0 nothing moves.
 *
 * Runs on all cores and off the JavaScript thread. Until the promise settles the metric is being read: do not write to it.
 *
 * @param metric `[batch, tokens, dims]`, float32 or float16; rows need not be normalised
 * @param r tokens to merge away, at least 0; more than half of those not protected count as half
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the metric holds NaN or infinity; the message says where
 *
 * @example
 * const matching = await bipartiteSoftMatching(keys, 16);
 * const merged = await matching.merge(tokens);
 */
export async function bipartiteSoftMatching(
  metric: Tensor,
  r: number,
  options?: BipartiteSoftMatchingOptions,
): Promise<Matching>;
/** The same on the GPU that holds the metric, for buffers there. */
export async function bipartiteSoftMatching(
  metric: DeviceBuffer,
  r: number,
  options?: BipartiteSoftMatchingOptions,
): Promise<DeviceMatching>;
export async function bipartiteSoftMatching(
  metric: Tensor | DeviceBuffer,
  r: number,
  options: BipartiteSoftMatchingOptions = {},
): Promise<Matching | DeviceMatching> {
  checkObject('options', options);
  if (metric instanceof DeviceBuffer) return await matchDevice(metric, r, options);
  checkFilledTensor('metric', metric, ['batch', 'tokens', 'dims']);
  checkInteger('r', r, 0);
  const dims: NativeDims = nativeDims(metric.dims);
  const protect = checkInteger('protect', options.protect ?? 0, 0, dims[1]);
  const matching = new Matching(dims[0], dims[1], protect, Math.min(r, Math.floor((dims[1] - protect) / 2)));
  const args = {
    metric: metric.data,
    dims,
    r: matching.r,
    protect,
    outUnmerged: matching.unmerged,
    outSource: matching.source,
    outDestination: matching.destination,
    outAssignment: matching.assignment,
  };
  await runNative((native) => native.bipartiteSoftMatching(args), checkSignal(options.signal));
  return matching;
}
