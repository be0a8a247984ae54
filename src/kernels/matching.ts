import type { Tensor, TensorInput } from '../base/tensor.js';
import { checkObject, checkOneOf, wrongValue } from '../base/validate.js';
import type { NativeSpreadByAssignmentArgs } from '../binding.js';
import { nativeDims } from './arguments.js';
import type { DeviceBuffer, HostTensor } from './deviceBuffer.js';
import { type Place, type Placed, type Prepared, run, valuesOf } from './place.js';

/** Options of {@link Matching.unmerge}. */
export type UnmergeOptions = {
  /** Stops the work; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | null;
};

export type MergeModeOptions = UnmergeOptions & {
  /**
   * `'mean'`: sum(token · size) / sum(size). `'sum'`: sum(token · size); in float16 a sum beyond 65504 becomes infinity.
   *
   * Defaults to `'mean'`.
   */
  readonly mode?: 'mean' | 'sum';
};

export type MergeOptions = MergeModeOptions & {
  /**
   * Weight of each token, `[batch, tokens]` above 0: how many tokens were merged into it before.
   *
   * Defaults to 1 for each.
   */
  readonly sizes?: TensorInput;
  /**
   * Where to write the result: a tensor of the result's type and shape whose memory the input's does not overlap. It saves
   * allocating a new one, which takes longer than merging. What it holds after a failure or an abort is not defined.
   *
   * Defaults to a new tensor.
   */
  readonly out?: TensorInput;
};

export type DeviceMergeOptions = MergeModeOptions & {
  /** Weight of each token, `[batch, tokens]` float32 above 0, on the same GPU. The values are not checked. */
  readonly sizes?: DeviceBuffer;
  /** As {@link MergeOptions.out}, on the same GPU. That it does not overlap the input is not checked. */
  readonly out?: DeviceBuffer;
};

type HowToMerge<T> = MergeModeOptions & { readonly sizes?: T; readonly out?: T };

type MatchingShape = {
  readonly batch: number;
  readonly inputTokens: number;
  readonly protect: number;
  readonly r: number;
};

/** The index tensors; undefined if they have no values. */
type FoundIndices = {
  readonly unmerged: Placed | undefined;
  readonly source: Placed | undefined;
  readonly destination: Placed | undefined;
  readonly assignment: Placed;
};

/** Base of {@link Matching} and {@link DeviceMatching}. */
abstract class TokenMatching<Given extends TensorInput | DeviceBuffer, Result extends Tensor | DeviceBuffer> {
  /** Entries of the batch. */
  readonly batch: number;
  /** Tokens in each entry before merging. */
  readonly inputTokens: number;
  /** Leading tokens of each entry that stay as they are. */
  readonly protect: number;
  /** Tokens of each entry that are merged away: the requested number, at most half of the unprotected tokens. */
  readonly r: number;
  /** Tokens that remain of each entry: first the protected, then those of `unmerged`, then all of B in original order. */
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
   * Merges a tensor's tokens. Do not write to the tensor until the promise settles.
   *
   * To follow the sizes through several steps, merge them too: `[batch, inputTokens, 1]` in mode `'sum'`.
   *
   * @param tensor `[batch, inputTokens, channels]`, on the host or on the same GPU as the matching
   * @returns `[batch, tokens, channels]` of the tensor's type, computed in float64 and rounded at the end: `options.out`, or
   * a new tensor, which on a GPU the caller disposes
   * @throws TypeError or RangeError when an argument is wrong
   * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tensor holds NaN or infinity; the message says where
   */
  async merge(tensor: Given, options: HowToMerge<Given> = {}): Promise<Result> {
    const { batch, inputTokens, tokens, assignment } = this;
    checkObject('options', options);
    const { mode = 'mean', sizes: given, signal, out } = options;
    const mean = checkOneOf('mode', mode, ['mean', 'sum']) === 'mean';
    const merged = await run(
      assignment,
      signal,
      (place) => {
        const checked = place.checkFloats('tensor', tensor, [batch, inputTokens, 'channels']);
        const { type, dims } = checked;
        const sizes = place.checkSizes(given, [batch, inputTokens]);
        const inputs = { tensor: valuesOf(checked), assignment: valuesOf(assignment), sizes, slots: tokens, mean };
        const shape = [batch, tokens, dims[2]!];
        const result = out === undefined ? place.allocate(type, shape) : checkOut(place, out, shape, checked);
        return { args: { ...inputs, dims: nativeDims(dims), out: valuesOf(result) }, result };
      },
      (native, args) => native.mergeByAssignment(args),
    );
    // Over a Float16Array, which is none of a result's types, the result is another tensor of the same memory.
    const isResult = out !== undefined && valuesOf(merged) === (out as Partial<HostTensor>).data;
    return (isResult ? out : merged) as Result;
  }

  /**
   * The inverse of {@link merge}: copies each merged token to the positions of all tokens that were merged into it.
   * Do not write to the tensor until the promise settles.
   *
   * @param tensor `[batch, tokens, channels]`, on the host or on the same GPU as the matching
   * @returns `[batch, inputTokens, channels]` of the tensor's type; on a GPU the caller disposes it
   * @throws TypeError or RangeError when an argument is wrong
   */
  async unmerge(tensor: Given, options: UnmergeOptions = {}): Promise<Result> {
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
    return spread as Result;
  }
}

/**
 * The result of {@link bipartiteSoftMatching}: which tokens to merge with which. Applies to any tensor with as many tokens.
 *
 * A are the even tokens of a batch entry, B the odd ones, both without protected tokens. The index arrays hold token numbers,
 * entry after entry.
 */
export class Matching extends TokenMatching<TensorInput, Tensor> {
  /** The tokens of A that stay, `batch × (|A| - r)`, most similar to B first. */
  readonly unmerged: Int32Array;
  /** The tokens of A that are merged away, `batch × r`, most similar first. */
  readonly source: Int32Array;
  /** The token of B that each token of `source` is merged into, `batch × r`. */
  readonly destination: Int32Array;
  /** The position of each token after merging, `batch × inputTokens` numbers below `tokens`. */
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

/** A {@link Matching} on a GPU. Dispose it when it is no longer needed. */
export class DeviceMatching extends TokenMatching<DeviceBuffer, DeviceBuffer> {
  /** The tokens of A that stay, `[batch, |A| - r]` int32, most similar to B first; undefined when there are none. */
  readonly unmerged: DeviceBuffer | undefined;
  /** The tokens of A that are merged away, `[batch, r]` int32, most similar first; undefined when there are none. */
  readonly source: DeviceBuffer | undefined;
  /** The token of B that each token of `source` is merged into, `[batch, r]` int32; undefined when there are none. */
  readonly destination: DeviceBuffer | undefined;
  /** The position of each token after merging, `[batch, inputTokens]` int32. */
  readonly assignment: DeviceBuffer;

  /** @internal */
  constructor(shape: MatchingShape, found: FoundIndices) {
    super(shape);
    this.unmerged = found.unmerged as DeviceBuffer | undefined;
    this.source = found.source as DeviceBuffer | undefined;
    this.destination = found.destination as DeviceBuffer | undefined;
    this.assignment = found.assignment as DeviceBuffer;
  }

  /** Releases the memory. Safe to call twice. */
  dispose(): void {
    for (const buffer of [this.unmerged, this.source, this.destination, this.assignment]) buffer?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Checks that a result of `input`'s type can be written to `out`. */
function checkOut(place: Place, out: unknown, shape: readonly number[], input: Placed): Placed {
  const checked = place.checkFloats('out', out, shape);
  if (checked.type !== input.type) wrongValue('out.type', `'${input.type}'`, checked.type);
  const [to, from] = [valuesOf(checked), valuesOf(input)];
  if (ArrayBuffer.isView(to) && ArrayBuffer.isView(from) && overlap(to, from))
    throw new RangeError('Expected memory that the input does not use for out.data but received some of it');
  return checked;
}

function overlap(a: ArrayBufferView, b: ArrayBufferView): boolean {
  const apart = a.byteOffset + a.byteLength <= b.byteOffset || b.byteOffset + b.byteLength <= a.byteOffset;
  return a.buffer === b.buffer && !apart;
}

/** Copies merged tokens to `rows` positions: `[…, slots, channels]` to `[…, rows, channels]`. */
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
