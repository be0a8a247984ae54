// What a vision tower is to the rest of the package.
import type { OnProgress } from '../base/progress.js';
import type { EightBits } from '../cache/eightBitMatrices.js';
import type { OnnxModel } from '../compute/graphBuilder.js';
import type { TensorLocation } from '../files/tensorFile.js';

/** How pixels become a tower's input: `(value · rescale - mean) / std`, per channel. */
export type PixelNormalization = {
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
  readonly rescale: number;
};

/** How frames become a tower's input. */
export type PixelRules = PixelNormalization & {
  /** Width and height of a frame in pixels: S. */
  readonly imageSize: number;
  /** The model's own way to make a frame square: crop the middle, or squash. */
  readonly resize: 'crop' | 'squash';
  /** Pixels of a frame's shorter edge before the middle is cropped. */
  readonly shortestEdge: number;
};

/** What a tower gives for a frame. */
export type TowerShape = {
  /** Patches of a frame: N. */
  readonly patches: number;
  /** The same in rows and columns, row by row. */
  readonly grid: readonly [rows: number, columns: number];
  /** Channels of a token: C. */
  readonly channels: number;
  /** Hidden states whose class token is given, the most that E can be; `0` for a tower without a class token. */
  readonly summaries: number;
  /** Groups of channels whose mean is compared by merging, unless it is told otherwise. */
  readonly heads: number;
};

/** A vision tower's shape and its pixels. */
export type VisionConfig = TowerShape & PixelRules;

/** A vision tower before it is started. */
export interface TowerSource {
  readonly config: VisionConfig;
  /** What else a reader may want to know of it, by name: `layers`, say. */
  readonly details: Readonly<Record<string, number | string>>;
  /** All that its patches and summaries depend on beside its tensors, as plain data: part of its identity. */
  readonly description: unknown;
  /** Every tensor that it computes with: part of its identity, too. */
  readonly tensors: readonly TensorLocation[];
  /** Matrices [out, in] of linear layers, which `int8` rounds. */
  readonly linear: readonly TensorLocation[];
  /**
   * The tower as a graph over weights in place. Input `pixels`: `float32` [n, 3, S, S], normalised, or `uint8`
   * [n, S, S, 3], RGB as it is. Outputs: `patches` [n, N, C] and, unless there are none, `summaries`
   * [n, summaries, C], oldest layer first.
   */
  graph(options: TowerGraphOptions): Promise<OnnxModel>;
}

/** Options of {@link TowerSource.graph}. */
export type TowerGraphOptions = {
  readonly input: 'float32' | 'uint8';
  /** Matrices to use in place of those in {@link TowerSource.linear}, by their names. */
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
   * The tower in a file or folder; undefined where it is none of this family's.
   * @throws LongVLMError for a tower of this family that cannot be used, or a file that cannot be read
   */
  open(path: string, options: OpenTowerOptions): Promise<TowerSource | undefined>;
  /**
   * Of the names of a model's tensors those of a tower of this family; none where there is no such tower. Of a model in
   * several files on the hub only the files with these are downloaded. Without it, none is found in such a model.
   */
  namesIn?(names: readonly string[]): readonly string[];
}
