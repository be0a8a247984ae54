// What an mmproj file says about the vision tower of its Qwen2.5-VL.
import * as v from 'valibot';
import { integer } from '../../base/schema.js';
import type { GgufFile } from '../../files/gguf.js';
import { MmprojFields } from '../../files/mmprojFields.js';
import { perChannel } from '../fields.js';
import { countMmprojLayers, readMmprojActivation, readMmprojShape } from '../mmproj.js';
import { type Qwen25Config, type Qwen25Pixels, usualPixels } from './huggingFaceConfig.js';

// With another value than this the tower would be computed in another way.
const fixed = { 'clip.vision.projector.scale_factor': 1 } as const;

/** Frames of a step, for each of which there are kernels. */
const framesPerStep = 2;
/** As in all released models; the file does not say. */
const [usualWindow, positionsPerSecond] = [112, 2];

/** Whether an mmproj file has a vision tower of Qwen2.5-VL. */
export function isQwen25Mmproj({ metadata }: GgufFile): boolean {
  const types = ['clip.projector_type', 'clip.vision.projector_type'].map((key) => metadata.get(key));
  return (types[0] ?? types[1]) === 'qwen2.5vl_merger';
}

/** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED`, `ERR_LONGVLM_WEIGHTS` */
export function readQwen25Mmproj(file: GgufFile): Qwen25Config & { readonly pixels: Qwen25Pixels } {
  const fields = new MmprojFields(file);
  const { patchSize, layerNormEpsilon: epsilon, ...sizes } = readMmprojShape(fields, 'Qwen2.5-VL', fixed);
  const { channels, heads, intermediateSize } = sizes;
  if (channels % (4 * heads) !== 0)
    throw fields.error(
      `clip.vision.embedding_length ${channels} is no multiple of 4 times clip.vision.attention.head_count ${heads}`,
    );
  const layers = countMmprojLayers(file);
  if (layers === 0) throw fields.error('tensor v.blk.0.ln1.weight is missing');
  // Every so many layers one attends to the whole frame; 0 for all of them.
  const pattern = fields.read('clip.vision.n_wa_pattern', integer(0));
  const mergeSize = fields.read('clip.vision.spatial_merge_size', v.optional(integer(1), 2));
  const pixels = fields.read('clip.vision.window_size', v.optional(integer(0), 0)) || usualWindow;
  const window = Math.floor(Math.floor(pixels / patchSize) / mergeSize);
  if (window === 0)
    throw fields.error(`clip.vision.window_size ${pixels} is less than a token's ${patchSize * mergeSize}`);
  const all = Array.from({ length: layers }, (_, index) => index);
  return {
    shape: {
      ...{ channels, intermediateSize, heads, layers, patchSize, framesPerStep, mergeSize, window, epsilon },
      fullLayers: pattern === 0 ? all : all.filter((index) => (index + 1) % pattern === 0),
      theta: 10_000,
      width: fields.read('clip.vision.projection_dim', integer(1)),
      activation: readMmprojActivation(fields),
    },
    positionsPerSecond,
    pixels: {
      ...usualPixels,
      mean: fields.read('clip.vision.image_mean', perChannel),
      std: fields.read('clip.vision.image_std', perChannel),
    },
  };
}
