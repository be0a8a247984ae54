import type { OnProgress } from '../base/progress.js';
import type { OnnxModel } from '../compute/graphBuilder.js';
import type { AnyWeightFile } from '../files/openWeights.js';
import type { TensorLocation } from '../files/tensorFile.js';

/** A projector that was found in a file, before it is started. */
export interface ProjectorSource {
  /** What it is called: `linear`, `mlp2x_gelu` ... With the tensors it makes the projector's identity. */
  readonly kind: string;
  /** Channels of a feature: C. */
  readonly inChannels: number;
  /** Channels of an embedding: d. */
  readonly outChannels: number;
  /** The tensors that it is made of, in a fixed order. */
  readonly tensors: readonly TensorLocation[];
  /** Its graph: input `features` [n, C], output `embeddings` [n, d], float32, for any n. */
  graph(): Promise<OnnxModel>;
}

/** A kind of projector. */
export interface ProjectorFamily {
  readonly name: string;
  /**
   * Looks for a projector of this kind in `file`.
   * @param onProgress told of work that takes time, such as weights that are written out in another type
   * @returns undefined when there is none of this kind
   * @throws for one of this kind that cannot be used
   */
  open(file: AnyWeightFile, signal?: AbortSignal, onProgress?: OnProgress): Promise<ProjectorSource | undefined>;
  /**
   * Of the names of a model's tensors those of a projector of this kind; none where there is no such projector. Of a model in
   * several files on the hub only the files with these are downloaded. Without it, none is found in such a model.
   */
  namesIn?(names: readonly string[]): readonly string[];
}
