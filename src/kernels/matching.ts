import type { Tensor } from '../base/tensor.js';
import { checkObject, checkOneOf } from '../base/validate.js';
import type { NativeSpreadByAssignmentArgs } from '../binding.js';
import { nativeDims } from './arguments.js';
import type { DeviceBuffer } from './deviceBuffer.js';
import { type Place, type Placed, type Prepared, run, valuesOf } from './place.js';

/** Options of {@link Matching.unmerge}. */
export type UnmergeOptions = {
  /** Stops the work; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
};

type MergeModeOptions = UnmergeOptions & {
  /**
   * `'mean'`: sum(token · size) / sum(size). `'sum'`: sum(token · size); in float16 a sum beyond 65504 becomes infinity.
   *
   * Defaults to `'mean'`.
   */
  readonly mode?: 'mean' | 'sum';
};

export type MergeOptions = MergeModeOptions & {
  /**
   * How much each token counts, `[batch, tokens]` above 0: how many tokens were merged into it before.
   *
   * Defaults to 1 for each.
   */
  readonly sizes?: Tensor;
};

export type DeviceMergeOptions = MergeModeOptions & {
  /** How much each token counts, `[batch, tokens]` float32 above 0, on the same GPU; values are not checked. */
  readonly sizes?: DeviceBuffer;
};

type MatchingShape = {
  readonly batch: number;
  readonly inputTokens: number;
  readonly protect: number;
  readonly r: number;
};

/** The index tensors, undefined where they have no values. */
type FoundIndices = {
  readonly unmerged: Placed | undefined;
  readonly source: Placed | undefined;
  readonly destination: Placed | undefined;
  readonly assignment: Placed;
};

/** What {@link Matching} and {@link DeviceMatching} have in common. */
abstract class TokenMatching<T extends Tensor | DeviceBuffer> {
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
  abstract readonly assignment: Int32Array | DeviceBuffer;

  /** @internal */
  constructor({ batch, inputTokens, protect, r }: MatchingShape) {
    this.batch = batch;
    this.inputTokens = inputTokens;
    this.protect = protect;
    this.r = r;
    this.tokens = inputTokens - r;
  }

  /**
   * Merges a tensor's tokens. Until the promise settles the tensor is being read: do not write to it.
   *
   * To follow the sizes through several steps, merge them too: `[batch, inputTokens, 1]` in mode `'sum'`.
   *
   * @param tensor `[batch, inputTokens, channels]`, where the matching is: on the host or on the same GPU
   * @returns `[batch, tokens, channels]` of the tensor's type, computed in float64 and rounded at the end; on a GPU it is
   * yours to dispose
   * @throws TypeError or RangeError when an argument is wrong
   * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tensor holds NaN or infinity; the message says where
   */
  async merge(tensor: T, options: MergeModeOptions & { readonly sizes?: T } = {}): Promise<T> {
    const { batch, inputTokens, tokens, assignment } = this;
    checkObject('options', options);
    const mean = checkOneOf('mode', options.mode ?? 'mean', ['mean', 'sum']) === 'mean';
    const merged = await run(
      assignment,
      options.signal,
      (place) => {
        const { type, dims } = place.checkFloats('tensor', tensor, [batch, inputTokens, 'channels']);
        const sizes = place.checkSizes(options.sizes, [batch, inputTokens]);
        const given = { tensor: valuesOf(tensor), assignment: valuesOf(assignment), sizes, slots: tokens, mean };
        const result = place.allocate(type, [batch, tokens, dims[2]!]);
        return { args: { ...given, dims: nativeDims(dims), out: valuesOf(result) }, result };
      },
      (native, args) => native.mergeByAssignment(args),
    );
    return merged as T;
  }

  /**
   * The way back: copies each merged token to every place that it came from.
   * Until the promise settles the tensor is being read: do not write to it.
   *
   * @param tensor `[batch, tokens, channels]`, where the matching is: on the host or on the same GPU
   * @returns `[batch, inputTokens, channels]` of the tensor's type; on a GPU it is yours to dispose
   * @throws TypeError or RangeError when an argument is wrong
   */
  async unmerge(tensor: T, options: UnmergeOptions = {}): Promise<T> {
    const { batch, inputTokens, tokens, assignment } = this;
    checkObject('options', options);
    const spread = await run(
      assignment,
      options.signal,
      (place) => {
        const checked = place.checkFloats('tensor', tensor, [batch, tokens, 'channels']);
        return prepareSpread(place, checked, inputTokens, assignment);
      },
      (native, args) => native.spreadByAssignment(args),
    );
    return spread as T;
  }
}

/**
 * Which tokens to merge with which, as {@link bipartiteSoftMatching} found. It fits any tensor of as many tokens.
 *
 * The even tokens of a batch entry are A, the odd ones B, without those that are protected. The index arrays hold token
 * numbers, entry after entry.
 */
export class Matching extends TokenMatching<Tensor> {
  /** The tokens of A that stay, `batch × (|A| - r)`, most similar to B first. */
  readonly unmerged: Int32Array;
  /** The tokens of A that are merged away, `batch × r`, most similar first. */
  readonly source: Int32Array;
  /** The token of B that each of `source` goes into, `batch × r`. */
  readonly destination: Int32Array;
  /** For each token its place after merging, `batch × inputTokens` numbers below `tokens`. */
  readonly assignment: Int32Array;

  /** @internal */
  constructor(shape: MatchingShape, found: FoundIndices) {
    super(shape);
    const array = (indices: Placed | undefined) =>
      indices === undefined ? new Int32Array(0) : (valuesOf(indices) as Int32Array);
    this.unmerged = array(found.unmerged);
    this.source = array(found.source);
    this.destination = array(found.destination);
    this.assignment = array(found.assignment);
  }
}

/** A {@link Matching} on a GPU. Dispose it when it is not needed any more. */
export class DeviceMatching extends TokenMatching<DeviceBuffer> {
  /** The tokens of A that stay, `[batch, |A| - r]` int32, most similar to B first; undefined when there are none. */
  readonly unmerged: DeviceBuffer | undefined;
  /** The tokens of A that are merged away, `[batch, r]` int32, most similar first; undefined when there are none. */
  readonly source: DeviceBuffer | undefined;
  /** The token of B that each of `source` goes into, `[batch, r]` int32; undefined when there are none. */
  readonly destination: DeviceBuffer | undefined;
  /** For each token its place after merging, `[batch, inputTokens]` int32. */
  readonly assignment: DeviceBuffer;

  /** @internal */
  constructor(shape: MatchingShape, found: FoundIndices) {
    super(shape);
    this.unmerged = found.unmerged as DeviceBuffer | undefined;
    this.source = found.source as DeviceBuffer | undefined;
    this.destination = found.destination as DeviceBuffer | undefined;
    this.assignment = found.assignment as DeviceBuffer;
  }

  /** Gives its memory back. Any number of times. */
  dispose(): void {
    for (const buffer of [this.unmerged, this.source, this.destination, this.assignment]) buffer?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** A copy of a merged token for each of `rows` places: `[…, slots, channels]` to `[…, rows, channels]`. */
export function prepareSpread(
  place: Place,
  tensor: Placed,
  rows: number,
  assignment: Int32Array | DeviceBuffer,
): Prepared<NativeSpreadByAssignmentArgs, Placed> {
  const { type, dims } = tensor;
  const given = { tensor: valuesOf(tensor), assignment: valuesOf(assignment), rows };
  const result = place.allocate(type, [...dims.slice(0, -2), rows, dims.at(-1)!]);
  return { args: { ...given, dims: nativeDims(dims), out: valuesOf(result) }, result };
}
