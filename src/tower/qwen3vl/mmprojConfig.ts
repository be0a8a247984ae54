// What mmproj files say in the same words about the vision towers of Qwen2.5-VL and Qwen3-VL.
import * as v from 'valibot';
import { integer } from '../../base/schema.js';
import type { GgufFile } from '../../files/gguf.js';
import { MmprojFields } from '../../files/mmprojFields.js';
import { perChannel } from '../fields.js';
import { countMmprojLayers, readMmprojShape } from '../mmproj.js';
import type { PixelNormalization } from '../source.js';
import type { StepShape } from './shape.js';

/** Frames of a step, for each of which there are kernels. */
const framesPerStep = 2;

/** Whether an mmproj file's projector is of that type. */
export function hasProjector({ metadata }: GgufFile, type: string): boolean {
  const types = ['clip.projector_type', 'clip.vision.projector_type'].map((key) => metadata.get(key));
  return (types[0] ?? types[1]) === type;
}

/** What both have in a file, and access to the rest. */
export type StepMmproj = {
  readonly fields: MmprojFields;
  readonly shape: Omit<StepShape, 'activation'>;
  /** Pixels of an edge of the learned grid of positions. */
  readonly imageSize: number;
  readonly pixels: Pick<PixelNormalization, 'mean' | 'std'>;
};

/**
 * @param kind of tower, for messages
 * @param fixed as for {@link readMmprojShape}
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED`, `ERR_LONGVLM_WEIGHTS`
 */
export function readStepMmproj(file: GgufFile, kind: string, fixed: Readonly<Record<string, number>>): StepMmproj {
  const fields = new MmprojFields(file);
  const sizes = readMmprojShape(fields, kind, fixed);
  const { channels, heads, intermediateSize, patchSize, imageSize, layerNormEpsilon: epsilon } = sizes;
  if (channels % (4 * heads) !== 0)
    throw fields.error(
      `clip.vision.embedding_length ${channels} is no multiple of 4 times clip.vision.attention.head_count ${heads}`,
    );
  const layers = countMmprojLayers(file);
  if (layers === 0) throw fields.error('tensor v.blk.0.ln1.weight is missing');
  return {
    fields,
    shape: {
      ...{ channels, intermediateSize, heads, layers, patchSize, framesPerStep, epsilon },
      mergeSize: fields.read('clip.vision.spatial_merge_size', v.optional(integer(1), 2)),
      theta: 10_000,
      width: fields.read('clip.vision.projection_dim', integer(1)),
    },
    imageSize,
    pixels: {
      mean: fields.read('clip.vision.image_mean', perChannel),
      std: fields.read('clip.vision.image_std', perChannel),
    },
  };
}
