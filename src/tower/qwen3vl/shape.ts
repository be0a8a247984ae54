import type { Activation } from '../../compute/activations.js';

/** The sizes of a tower that takes steps of several frames, with a merger: of Qwen2.5-VL and Qwen3-VL. */
export type StepShape = {
  /** Channels of a patch: C. */
  readonly channels: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Width and height of a patch in pixels: P. */
  readonly patchSize: number;
  /** Frames of a step: F. */
  readonly framesPerStep: number;
  /** Width and height, in patches, of the square that becomes one token. */
  readonly mergeSize: number;
  /** The base of rotary frequencies. */
  readonly theta: number;
  /** Width of the language model: d. */
  readonly width: number;
  readonly activation: Activation;
  readonly epsilon: number;
};

/** The sizes of a Qwen3-VL tower, and how it computes. */
export type QwenShape = StepShape & {
  /** Rows and columns of the learned grid of position embeddings. */
  readonly positions: number;
  /** Layers whose states DeepStack adds to the language model, ascending from 0. */
  readonly deepstack: readonly number[];
};
