// The interface of vision towers and their families.
import type { AttentionKind } from '../base/attention.js';
import type { OnProgress } from '../base/progress.js';
import type { Resize, SquashFilter } from '../base/resize.js';
import type { EightBits } from '../cache/eightBitMatrices.js';
import type { OnnxModel } from '../compute/graphBuilder.js';
import type { TensorLocation } from '../files/tensorFile.js';
import type { VisionPrecision } from './precision.js';

/** Normalisation of pixels: `(value · rescale - mean) / std`, per channel. */
export type PixelNormalization = {
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
  readonly rescale: number;
};

/** How frames are converted to a tower's input. */
export type PixelRules = PixelNormalization & {
  /** Width and height of a frame in pixels: S. For a tower of any size, of the largest square. */
  readonly imageSize: number;
  /** How the model makes frames square by default: crop the middle, squash, or pad. */
  readonly resize: Resize;
  /** How frames are squashed: with a filter, as image processors do, or `nearest` as LongVLM's loader does. Defaults to `nearest`. */
  readonly filter?: SquashFilter;
  /**
   * For frames that are squashed with a filter: they go through a picture whose longer edge has as many pixels, and whose
   * shorter one an even number. Defaults to no such step.
   */
  readonly longestEdge?: number;
  /** Pixels of a frame's shorter edge before the middle is cropped. */
  readonly shortestEdge: number;
  /**
   * For a tower of any size: the square that becomes one token of a step, its width in pixels and in patches. Frames are
   * squashed to whole cells. Undefined where all frames are squares of `imageSize`.
   */
  readonly cell?: { readonly pixels: number; readonly patches: number };
};

/** Output sizes of a tower. */
export type TowerShape = {
  /**
   * Frames that the tower takes as one step, whose tokens belong to all of them; the first axis of its graph is steps. Where
   * it is above 1, read `step` for `frame` in this type. Defaults to 1.
   */
  readonly framesPerStep?: number;
  /** Patches of a frame, and the class token where it stays before them: N. For a tower of any size, the most that there can be. */
  readonly patches: number;
  /** Patches as rows and columns, row-major; one row where the class token stays before them, or for a tower of any size. */
  readonly grid: readonly [rows: number, columns: number];
  /** Channels of a token: C. */
  readonly channels: number;
  /** Number of hidden states whose class token is an output, the maximum of E; `0` for a tower without a class token. */
  readonly summaries: number;
  /** Default for merging: groups of channels over whose mean tokens are compared. */
  readonly heads: number;
  /** Name of the reducer by default: `pick` where tokens have places that a mean has not. Defaults to `merge`. */
  readonly reduction?: string;
  /**
   * Whose attention to each of its tokens it gives on request, for reducers that rank tokens by it. Defaults to none.
   */
  readonly attention?: AttentionKind;
};

/** Width and height of frames in pixels. */
export type FrameSize = { readonly width: number; readonly height: number };

/** A video as it is shown, and how many frames of it are taken. */
export type ShownVideo = FrameSize & {
  readonly frames: number;
  /** The most pixels of a frame, where they are fewer than its model has. Defaults to those. */
  readonly maxPixels?: number;
};

/** Frames of one size, and the tokens that come of them: what {@link VisionConfig} says for towers of one size. */
export type FrameShape = FrameSize & {
  /** Tokens of a step: N. */
  readonly patches: number;
  /** These as rows and columns, row-major. */
  readonly grid: readonly [rows: number, columns: number];
};

/** A vision tower's shape and its pixels. */
export type VisionConfig = TowerShape & PixelRules;

/** Which hidden states the patches of a tower are. */
export type PatchStates = {
  /** Their indices, from 0 to `depth`. */
  readonly layers: readonly number[];
  /** Layers of the whole tower. */
  readonly depth: number;
  readonly keepsClassToken: boolean;
};

/**
 * What the tokens of a tower are whose projector is part of its graph, because it needs whole frames or belongs to no other tower:
 * embeddings of a language model.
 */
export type Projection = {
  /** Name of the kind of projector, such as `pixel_shuffle_linear`. */
  readonly kind: string;
  /** Width of the language model: d. */
  readonly width: number;
  /** Rows of that width that a token is made of: the embedding, then those of DeepStack; `channels` of them together. Defaults to 1. */
  readonly rows?: number;
  /**
   * How the tokens of a frame attend to each other in the language model: to those before, or, as Gemma 3 has it, to all of their
   * frame. Defaults to `causal`.
   */
  readonly attention?: 'causal' | 'full';
  /**
   * For a language model that places tokens by time, row and column: how many positions a second takes, in which the steps of a
   * video that no text separates follow each other, as Qwen2.5-VL has it. Without it, each step begins behind the one before.
   */
  readonly positionsPerSecond?: number;
  /** An embedding [d] that stands once behind all tokens of a video. It is one of {@link TowerSource.tensors}. */
  readonly ending?: TensorLocation;
};

/** A vision tower before it is started. */
export interface TowerSource {
  readonly config: VisionConfig;
  /**
   * For a tower of any size: the size that the frames of a video are squashed to, in whole cells.
   * @throws LongVLMError `ERR_LONGVLM_VIDEO` for a video that has none
   */
  sizeOf?(video: ShownVideo): FrameSize;
  /** Undefined where the tokens still have to be projected. */
  readonly projection?: Projection;
  /** Name of the prompt layout that its model was trained with. Defaults to the language model's own. */
  readonly template?: string;
  /** Undefined where it is not known, or there are no such states: then a projector cannot be checked to be trained on them. */
  readonly patchStates?: PatchStates;
  /** Further properties for people, by name, such as `layers`. */
  readonly details: Readonly<Record<string, number | string>>;
  /** Everything except the tensors that the outputs depend on, as plain data. Included in the tower's identity. */
  readonly description: unknown;
  /** All tensors of the tower. Included in the tower's identity. */
  readonly tensors: readonly TensorLocation[];
  /** Tensors that attention depends on beside those of {@link tensors}. Defaults to none. */
  readonly attentionTensors?: readonly TensorLocation[];
  /** Matrices [out, in] of the linear layers, which `int8` rounds. */
  readonly linear: readonly TensorLocation[];
  /** What {@link graph} can compute in. Defaults to `float32` and `int8`. */
  readonly precisions?: readonly VisionPrecision[];
  /**
   * Builds the tower as a graph over weights in place. Input `pixels`: `float32` [n, 3, S, S], normalised, or `uint8`
   * [n, S, S, 3], raw RGB; with `framesPerStep` F above 1 [n, F, S, S, 3]. A tower of any size takes any height and width in
   * place of S, and as `float32` [n, rows, columns, values], the patches of each step as its model's own processor gives them.
   * Outputs: `patches` [n, N, C] and, unless `config.summaries` is 0, `summaries` [n, summaries, C], earliest layer first. Where
   * asked for, `attention` [n, N]: how much each token gets, the mean over heads; of a token that several patches make, the mean
   * over these.
   */
  graph(options: TowerGraphOptions): Promise<OnnxModel>;
}

/** Options of {@link TowerSource.graph}. */
export type TowerGraphOptions = {
  readonly input: 'float32' | 'uint8';
  /** The type of weights and of values between nodes. Outputs are float32 in any case. Defaults to `float32`. */
  readonly precision?: 'float32' | 'float16' | undefined;
  /** Whether the output `attention` is made, which `config.attention` promises. Defaults to `false`. */
  readonly attention?: boolean | undefined;
  /** Rounded matrices that replace those in {@link TowerSource.linear}, by tensor name. */
  readonly eightBits?: ReadonlyMap<string, EightBits> | undefined;
};

/** Options of {@link TowerFamily.open}. */
export type OpenTowerOptions = {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
};

/** A kind of vision tower. */
export interface TowerFamily {
  readonly name: string;
  /**
   * Opens the tower in a file or folder.
   * @returns undefined when there is no tower of this family
   * @throws LongVLMError for a tower of this family that cannot be used, or a file that cannot be read
   */
  open(path: string, options: OpenTowerOptions): Promise<TowerSource | undefined>;
  /**
   * Of the names of a model's tensors those of a tower of this family; none where there is no such tower. Of a model in
   * several files on the hub only the files with these are downloaded. Without it, none is found in such a model.
   */
  namesIn?(names: readonly string[]): readonly string[];
}
