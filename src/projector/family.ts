import type { OnProgress } from '../base/progress.js';
import type { OnnxModel } from '../compute/graphBuilder.js';
import type { AnyWeightFile } from '../files/openWeights.js';
import type { TensorLocation } from '../files/tensorFile.js';

/** The hidden states of a tower that a projector was trained on. */
export type TrainedStates = {
  /** Indices from 0, or below 0 from the end: -1 is the last state. */
  readonly layers: readonly number[];
  readonly keepsClassToken: boolean;
};

/** A projector in a file that is not started yet. */
export interface ProjectorSource {
  /** Name of the kind: `linear`, `mlp2x_gelu` and so on. */
  readonly kind: string;
  /**
   * Everything except the tensors that embeddings depend on, as plain data. The projector's identity is computed from it and
   * the tensors. Defaults to `kind`.
   */
  readonly description?: unknown;
  /** Channels of a feature: C. */
  readonly inChannels: number;
  /** Channels of an embedding: d. */
  readonly outChannels: number;
  /** Undefined where its files do not say. */
  readonly trainedStates?: TrainedStates;
  /** The projector's tensors, in a fixed order. */
  readonly tensors: readonly TensorLocation[];
  /** Builds the graph: input `features` [n, C], output `embeddings` [n, d], float32, for any n. */
  graph(): Promise<OnnxModel>;
}

/** A kind of projector. */
export interface ProjectorFamily {
  readonly name: string;
  /**
   * Looks for a projector of this kind in `file`.
   * @param onProgress called during long work, such as converting weights to another type
   * @returns undefined when the file has no projector of this kind
   * @throws when the file has one of this kind that cannot be used
   */
  open(file: AnyWeightFile, signal?: AbortSignal, onProgress?: OnProgress): Promise<ProjectorSource | undefined>;
  /**
   * Of the names of a model's tensors those of a projector of this kind; none where there is no such projector. Of a model in
   * several files on the hub only the files with these are downloaded. Without it, none is found in such a model.
   */
  namesIn?(names: readonly string[]): readonly string[];
}
