// What the reducers of a video's tokens share: their input, their result, and counting.
import { constants } from 'node:buffer';
import type { AttentionSource } from '../base/attention.js';
import { type Float32Tensor, float32Tensor, type Tensor } from '../base/tensor.js';
import { checkNumber, checkSignal, wrongType, wrongValue } from '../base/validate.js';
import { type NativeBinding, type NativeDims, type NativeTask, runNative } from '../binding.js';
import { checkFilledTensor, nativeDims, readTensor } from './arguments.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { ownInputs } from './place.js';

/** What a reducer did. */
export type ReductionReport = {
  readonly method: string;
  /** Tokens given: frames · patches. */
  readonly inputTokens: number;
  /** Tokens kept: K. */
  readonly tokens: number;
  /** Of these, how many are as they were. */
  readonly picked: number;
  /** Of these, how many are the mean of several. */
  readonly merged: number;
  /** Tokens given that no token kept stands for. */
  readonly dropped: number;
  /** Tokens kept of each frame. */
  readonly tokensOfFrames: readonly number[];
  /** Frames of each segment, where the method cuts the video. */
  readonly segments?: readonly number[];
  /** What tokens were ranked by, where a method in the product does that: see the option `attention` there. */
  readonly attention?: AttentionSource;
  /** Whether anything was merged or dropped. */
  readonly changed: boolean;
  /** All of it in a sentence. */
  readonly text: string;
};

/** A video's tokens, reduced. */
export type ReducedVideo = {
  /** `[K, channels]`, of the input's type. */
  readonly tokens: Tensor;
  /** K positions among the `frames · patches` tokens given, ascending: where each token stands. */
  readonly indices: Int32Array;
  /** `[K]`, how many of the tokens given each stands for: 1 for a token that is as it was. */
  readonly sizes: Float32Tensor;
  /**
   * `[frames · patches]`, of methods that merge, on the host: for each token given the index of the token that it is or went into,
   * or -1 if none stands for it.
   */
  readonly owners?: Int32Array;
  readonly report: ReductionReport;
};

/** Options that all reducers of a video have. */
export type ReducerCallOptions = {
  /** Stops the work; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | null;
};

/** Frames of a video, and tokens of each. */
export type VideoSize = { readonly frames: number; readonly patches: number };

/** A video's tokens, checked. */
export type VideoTokens = VideoSize & {
  readonly tensor: Tensor;
  readonly dims: NativeDims;
  readonly channels: number;
};

/** @throws TypeError or RangeError unless `value` is a tensor [frames, patches, channels] on the host, none of them 0 */
export function checkVideoTokens(value: unknown): VideoTokens {
  if (value instanceof DeviceBuffer) wrongType('tokens', 'Tensor on the host, as this has no GPU kernel', value);
  const tensor = checkFilledTensor('tokens', readTensor(value), ['frames', 'patches', 'channels']);
  const dims = nativeDims(tensor.dims);
  const [frames, patches, channels] = dims;
  return { tensor, dims, frames, patches, channels };
}

/** Checks a part of the tokens to keep, above 0. */
export function checkRetentionRatio(value: unknown): number {
  const ratio = checkNumber('retentionRatio', value, 0, 1);
  if (ratio === 0) wrongValue('retentionRatio', 'number above 0, at most 1', ratio);
  return ratio;
}

/**
 * `count · ratio`, which methods round up or down. A ratio that went through float32 means the decimal or the whole number of
 * tokens that it was: 25 · 0.2 are 5 tokens, not the 5.00000007 that float32 makes of it.
 */
export function share(count: number, ratio: number): number {
  if (Math.fround(ratio) !== ratio) return count * ratio;
  const decimal = Number(ratio.toPrecision(6));
  if (Math.fround(decimal) === ratio) return count * decimal;
  const tokens = count * ratio;
  const whole = Math.round(tokens);
  return Math.abs(tokens - whole) <= tokens * 2 ** -23 ? whole : tokens;
}

/** Rounds to the nearest integer, of two that are as near to the even one. */
export function roundToEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Memory for values of the type of a tensor, all to be written: filling it with zeros would take as long as some methods. */
export function allocateLike({ type }: Tensor, count: number): Float32Array | Uint16Array {
  const Values = type === 'float32' ? Float32Array : Uint16Array;
  const bytes = count * Values.BYTES_PER_ELEMENT;
  return bytes > constants.MAX_LENGTH ? new Values(count) : new Values(Buffer.allocUnsafeSlow(bytes).buffer);
}

/** Runs an operation whose inputs are on the host. */
export async function runOnHost<Args>(
  signal: unknown,
  args: Args,
  start: (native: NativeBinding, args: Args) => NativeTask,
): Promise<void> {
  await runNative((native) => start(native, ownInputs(args)), checkSignal(signal));
}

/** What a method kept, to be reported. */
export type Kept = {
  /** Memory for at least K tokens. */
  readonly tokens: Float32Array | Uint16Array;
} & KeptPlaces;

/** Which tokens a method kept. */
export type KeptPlaces = {
  readonly indices: Int32Array;
  readonly sizes: Float32Array;
  readonly dropped: number;
  /** Of each frame 1 if it is the first of a segment, else 0. */
  readonly starts?: Int32Array;
  /** As in {@link ReducedVideo}. */
  readonly owners?: Int32Array;
  /** More to say: clauses of the report's sentence. */
  readonly details?: readonly string[];
};

/** The result of a method, with its report. `count` is K. */
export function reducedVideo(method: string, video: VideoTokens, kept: Kept, count: number): ReducedVideo {
  const { tensor, channels } = video;
  const cut = <T extends Float32Array | Int32Array>(array: T, length: number): T =>
    array.length === length ? array : (array.slice(0, length) as T);
  const data = cutTokens(tensor, kept.tokens, count * channels);
  const places = { ...kept, indices: cut(kept.indices, count), sizes: cut(kept.sizes, count) };
  return {
    tokens: { type: tensor.type, data, dims: [count, channels] } as Tensor,
    ...reportOf(method, video, places),
  };
}

/** As many of the values, in memory of their own. */
function cutTokens(tensor: Tensor, values: Float32Array | Uint16Array, count: number): Float32Array | Uint16Array {
  if (values.length === count) return values;
  const own = allocateLike(tensor, count);
  own.set(values.subarray(0, count));
  return own;
}

/** What is told of the tokens that a method kept. */
export function reportOf(
  method: string,
  { frames, patches }: VideoSize,
  kept: KeptPlaces,
): Omit<ReducedVideo, 'tokens'> {
  const { indices, sizes } = kept;
  const count = indices.length;
  const tokensOfFrames = new Array<number>(frames).fill(0);
  for (const index of indices) tokensOfFrames[Math.floor(index / patches)]!++;
  const merged = sizes.reduce((sum, size) => sum + (size > 1 ? 1 : 0), 0);
  const segments = kept.starts && segmentLengths(kept.starts);
  const inputTokens = frames * patches;
  const numbers = { inputTokens, tokens: count, picked: count - merged, merged, dropped: kept.dropped };
  const changed = merged > 0 || kept.dropped > 0;
  return {
    indices,
    sizes: float32Tensor(sizes, [count]),
    ...(kept.owners && { owners: kept.owners }),
    report: {
      method,
      ...numbers,
      tokensOfFrames,
      ...(segments && { segments }),
      changed,
      text: sentence(method, numbers, changed, segments, kept.details),
    },
  };
}

/** Lengths of segments, from a mark at the first frame of each. */
export function segmentLengths(starts: Int32Array): number[] {
  const lengths: number[] = [];
  for (const start of starts) {
    if (start !== 0) lengths.push(0);
    lengths[lengths.length - 1]!++;
  }
  return lengths;
}

function sentence(
  method: string,
  numbers: Pick<ReductionReport, 'inputTokens' | 'tokens' | 'picked' | 'merged' | 'dropped'>,
  changed: boolean,
  segments: readonly number[] | undefined,
  details: readonly string[] = [],
): string {
  const { inputTokens, tokens, picked, merged, dropped } = numbers;
  if (!changed) return `${method} did nothing: all ${inputTokens} tokens are as they were.`;
  const clauses = [
    `kept ${tokens} of ${inputTokens} tokens`,
    `${picked} as they were`,
    `${merged} as means of several`,
  ];
  if (dropped > 0) clauses.push(`dropped ${dropped}`);
  if (segments) clauses.push(`in ${segments.length} ${segments.length === 1 ? 'segment' : 'segments'}`);
  return `${method} ${[...clauses, ...details].join(', ')}.`;
}
