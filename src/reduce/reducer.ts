// What makes a segment's many tokens few.
import type { Float32Tensor } from '../base/tensor.js';

/** What a reducer gets: all tokens of one segment, frame after frame. */
export type SegmentShape = {
  /** Frames of the segment: K. */
  readonly frames: number;
  /** Tokens of a frame: N. */
  readonly patches: number;
  /** The same in rows and columns, row by row. */
  readonly grid: readonly [rows: number, columns: number];
  /** Channels of a token. */
  readonly channels: number;
};

/** A segment's tokens, reduced. */
export type ReducedTokens = {
  /** [M, channels]. */
  readonly tokens: Float32Tensor;
  /** [M], how many tokens each stands for. */
  readonly sizes: Float32Tensor;
};

/** A way to make few tokens of many, with its options. */
export interface Reducer {
  readonly name: string;
  /** Its name and all its options: what is encoded with an equal id is equal. Part of every cache key. */
  readonly id: string;
  /**
   * Which tokens it takes: those of the vision tower, before the projector, as LongVLM has it; or those of the projector, in
   * the language model's width, where a model's projector needs whole frames. Defaults to `tower`.
   */
  readonly stage?: 'tower' | 'projector';
  /** Tokens that it gives for a segment: M. */
  count(segment: SegmentShape): number;
  /** Finds out before anything is decoded whether it can do that. @throws TypeError or RangeError when it cannot */
  check(segment: SegmentShape): void;
  /**
   * @param tokens [frames · patches, channels], lent: their memory is used again once the promise settles
   * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; `signal.reason`
   */
  reduce(tokens: Float32Tensor, segment: SegmentShape, signal?: AbortSignal): Promise<ReducedTokens>;
}

/** Options that every reducer understands; each takes what it has a use for. */
export type ReducerOptions = {
  /** Tokens to keep of a segment: M. */
  readonly tokensPerSegment: number;
  /** Groups of channels whose mean decides what is merged. */
  readonly mergeHeads: number;
};

/** A kind of reducer, by name. */
export interface ReducerKind {
  readonly name: string;
  /** @throws TypeError or RangeError for a wrong option */
  create(options: ReducerOptions): Reducer;
}

/** The id of a reducer: its name and its options. */
export function reducerId(name: string, options: Readonly<Record<string, number | string>>): string {
  return `${name} ${JSON.stringify(options)}`;
}
