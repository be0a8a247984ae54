// The interface of reducers, which reduce the many tokens of a segment, or of a whole video, to a few.
import type { AttentionKind } from '../base/attention.js';
import type { Float32Tensor } from '../base/tensor.js';
import { checkObject, checkString, wrongType } from '../base/validate.js';
import type { ReductionReport } from '../kernels/index.js';
import type { ReductionOptions } from './options.js';

/** Shape of a reducer's input: all tokens of one segment, frame after frame. */
export type SegmentShape = {
  /** Frames of the segment: K. Where the tower takes several frames as one step, steps of the segment. */
  readonly frames: number;
  /** Tokens of a frame, or of a step: N. */
  readonly patches: number;
  /** Patches as rows and columns, row-major. */
  readonly grid: readonly [rows: number, columns: number];
  /** Channels of a token. */
  readonly channels: number;
  /** Of these, those of its embedding, where rows for later layers of the language model follow it. Defaults to all. */
  readonly width?: number;
};

/** A segment's tokens, reduced. */
export type ReducedTokens = {
  /** [M, channels]. */
  readonly tokens: Float32Tensor;
  /** [M], how many input tokens each token represents. */
  readonly sizes: Float32Tensor;
  /**
   * [M], ascending: the index of the input token that each token is. Given where tokens were picked and none was averaged, as
   * models need it that tell each token its place.
   */
  readonly positions?: Int32Array;
  /**
   * [frames · patches]: for each input token the index of the token that it went into, or -1 if it was dropped. For whoever wants to
   * see what a reducer did; tokens are the same without it. Not needed where `positions` say it: where all sizes are 1.
   */
  readonly owners?: Int32Array;
};

/** A method to reduce a segment's tokens, with its options. */
export interface Reducer {
  readonly name: string;
  /** The name and all options: equal ids must give equal results. Every cache key includes the id. */
  readonly id: string;
  /**
   * Which tokens it takes. `tower`: the vision tower's, before the projector, as in LongVLM. `projector`: the projector's output,
   * in the language model's width, for models whose projector needs whole frames. Defaults to `tower`.
   */
  readonly stage?: 'tower' | 'projector';
  /** Number of tokens that it returns for a segment: M. */
  count(segment: SegmentShape): number;
  /** Checks, before anything is decoded, that it can reduce such a segment. @throws TypeError or RangeError when it cannot */
  check(segment: SegmentShape): void;
  /**
   * @param tokens [frames · patches, channels]. Do not keep them: their memory is reused once the promise settles
   * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; `signal.reason`
   */
  reduce(tokens: Float32Tensor, segment: SegmentShape, signal?: AbortSignal): Promise<ReducedTokens>;
}

/** A video's tokens, reduced. Unlike a segment's, merged tokens have places, too: that of one of those that they are the mean of. */
export type ReducedVideoTokens = ReducedTokens & {
  /** [K], ascending: where each token stands among all of the video. */
  readonly positions: Int32Array;
  /** What was done, which features keep. */
  readonly report?: ReductionReport;
};

/** One video on its way through a {@link VideoReducer}. */
export interface VideoReduction {
  /**
   * Takes the tokens of the next frames.
   * @param tokens [frames · patches, channels], whole frames. Do not keep them: their memory is reused once the promise settles
   * @param attention [frames, patches], for a reducer that asked for it
   * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; `signal.reason`
   */
  add(tokens: Float32Tensor, attention?: Float32Tensor): Promise<void>;
  /** After the last frame. Throws as {@link add}. */
  finish(): Promise<ReducedVideoTokens>;
}

/** A method to reduce the tokens of a video as a whole, with its options. */
export interface VideoReducer {
  readonly name: string;
  /** The name and all options: equal ids must give equal results. Every cache key includes the id. */
  readonly id: string;
  readonly scope: 'video';
  /** As {@link Reducer.stage}. */
  readonly stage?: 'tower' | 'projector';
  /**
   * Whose attention it takes with the tokens: the vision tower has to give it, which its configuration says. Results depend on
   * it, so {@link id} must, too. Defaults to none.
   */
  readonly attention?: AttentionKind;
  /**
   * The most tokens that it returns for a video. Called for a single segment, too, where the length is not known yet.
   * @throws TypeError or RangeError for a wrong option
   */
  count(video: SegmentShape): number;
  /** Checks, before anything is decoded, that it can reduce such a video. @throws TypeError or RangeError when it cannot */
  check(video: SegmentShape): void;
  start(video: SegmentShape, signal?: AbortSignal): VideoReduction;
}

/** Whether a reducer takes a whole video. */
export function reducesVideos(reducer: Reducer | VideoReducer): reducer is VideoReducer {
  return 'scope' in reducer && reducer.scope === 'video';
}

/** Whose attention a reducer takes with the tokens, if any. */
export function attentionOf(reducer: Reducer | VideoReducer): AttentionKind | undefined {
  return reducesVideos(reducer) ? reducer.attention : undefined;
}

/** Options for all reducers; a reducer may ignore some of them. */
export type ReducerOptions = {
  /** Number of tokens to reduce a segment to: M. */
  readonly tokensPerSegment: number;
  /** Groups of channels: tokens are compared by their mean over the groups. */
  readonly mergeHeads: number;
  /** Number of tokens to reduce a whole video to, for reducers of whole videos. Defaults to `tokensPerSegment`. */
  readonly tokens?: number;
  /** Whose attention the vision tower gives. Defaults to none. */
  readonly attention?: AttentionKind;
  /** The method's own options: a reducer without any refuses them. Defaults to none. */
  readonly options?: ReductionOptions;
};

/** A kind of reducer, which is chosen by its name. */
export interface ReducerKind {
  readonly name: string;
  /** @throws TypeError or RangeError for a wrong option */
  create(options: ReducerOptions): Reducer | VideoReducer;
}

/** The id of a reducer, from its name and its options. */
export function reducerId(name: string, options: Readonly<Record<string, number | string>>): string {
  checkString('name', name);
  const read = Object.entries(checkObject('options', options));
  for (const [key, value] of read)
    if (typeof value !== 'string' && typeof value !== 'number') wrongType(`options.${key}`, 'number or string', value);
  return `${name} ${JSON.stringify(Object.fromEntries(read))}`;
}
