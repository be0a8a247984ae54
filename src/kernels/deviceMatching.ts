import { checkInteger, checkObject, checkOneOf, checkSignal } from '../base/validate.js';
import type { DeviceBuffer } from './deviceBuffer.js';
import { type DeviceMatch, matchOnDevice, mergeByAssignmentOnDevice, spreadOnDevice } from './deviceKernels.js';

type CallOptions = {
  /** Stops the work; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
};

export type DeviceMergeOptions = CallOptions & {
  /** How much each token counts, `[batch, tokens]` float32 above 0, on the same GPU; values are not checked. */
  readonly sizes?: DeviceBuffer;
  /**
   * As for {@link Matching.merge}.
   *
   * Defaults to `'mean'`.
   */
  readonly mode?: 'mean' | 'sum';
};

/** A {@link Matching} on a GPU. Dispose it when it is not needed any more. */
export class DeviceMatching {
  /** Entries of the batch. */
  readonly batch: number;
  /** Tokens in each entry before merging. */
  readonly inputTokens: number;
  /** Leading tokens of each entry that stay as they are. */
  readonly protect: number;
  /** Tokens of each entry that are merged away. */
  readonly r: number;
  /** Tokens that are left of each entry. */
  readonly tokens: number;
  /** The tokens of A that stay, `[batch, |A| - r]` int32, most similar to B first; undefined when there are none. */
  readonly unmerged: DeviceBuffer | undefined;
  /** The tokens of A that are merged away, `[batch, r]` int32, most similar first; undefined when there are none. */
  readonly source: DeviceBuffer | undefined;
  /** The token of B that each of `source` goes into, `[batch, r]` int32; undefined when there are none. */
  readonly destination: DeviceBuffer | undefined;
  /** For each token its place after merging, `[batch, inputTokens]` int32. */
  readonly assignment: DeviceBuffer;

  /** @internal */
  constructor(dims: readonly number[], protect: number, r: number, match: DeviceMatch) {
    this.batch = dims[0]!;
    this.inputTokens = dims[1]!;
    this.protect = protect;
    this.r = r;
    this.tokens = this.inputTokens - r;
    this.unmerged = match.unmerged;
    this.source = match.source;
    this.destination = match.destination;
    this.assignment = match.assignment;
  }

  /**
   * Merges a tensor's tokens: see {@link Matching.merge}.
   *
   * @param tensor `[batch, inputTokens, channels]` on the same GPU
   * @returns `[batch, tokens, channels]` of the tensor's type, on that GPU, yours to dispose
   */
  async merge(tensor: DeviceBuffer, options: DeviceMergeOptions = {}): Promise<DeviceBuffer> {
    checkObject('options', options);
    const mean = checkOneOf('mode', options.mode ?? 'mean', ['mean', 'sum']) === 'mean';
    const signal = checkSignal(options.signal);
    return await mergeByAssignmentOnDevice(tensor, this.assignment, this.tokens, { ...options, mean }, signal);
  }

  /**
   * The way back: see {@link Matching.unmerge}.
   *
   * @param tensor `[batch, tokens, channels]` on the same GPU
   * @returns `[batch, inputTokens, channels]` of the tensor's type, on that GPU, yours to dispose
   */
  async unmerge(tensor: DeviceBuffer, options: CallOptions = {}): Promise<DeviceBuffer> {
    checkObject('options', options);
    const shape = [this.batch, this.tokens, 'channels'];
    return await spreadOnDevice('tensor', tensor, this.assignment, shape, checkSignal(options.signal));
  }

  /** Gives its memory back. Any number of times. */
  dispose(): void {
    for (const buffer of [this.unmerged, this.source, this.destination, this.assignment]) buffer?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** @internal */
export async function matchDevice(
  metric: DeviceBuffer,
  r: number,
  options: CallOptions & { readonly protect?: number },
): Promise<DeviceMatching> {
  checkInteger('r', r, 0);
  const tokens = metric.dims[1] ?? 0;
  const protect = checkInteger('protect', options.protect ?? 0, 0, tokens);
  const limited = Math.min(r, Math.floor((tokens - protect) / 2));
  const match = await matchOnDevice(metric, limited, protect, checkSignal(options.signal));
  return new DeviceMatching(metric.dims, protect, limited, match);
}
