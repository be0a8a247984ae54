// What an mmproj file says about the vision tower of its Qwen2.5-VL.
import * as v from 'valibot';
import { integer } from '../../base/schema.js';
import type { GgufFile } from '../../files/gguf.js';
import { readMmprojActivation } from '../mmproj.js';
import { hasProjector, readStepMmproj } from '../qwen3vl/mmprojConfig.js';
import { type Qwen25Config, type Qwen25Pixels, usualPixels } from './huggingFaceConfig.js';

// With another value than this the tower would be computed in another way.
const fixed = { 'clip.vision.projector.scale_factor': 1 } as const;

/** As in all released models; the file does not say. */
const [usualWindow, positionsPerSecond] = [112, 2];

/** Whether an mmproj file has a vision tower of Qwen2.5-VL. */
export function isQwen25Mmproj(file: GgufFile): boolean {
  return hasProjector(file, 'qwen2.5vl_merger');
}

/** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED`, `ERR_LONGVLM_WEIGHTS` */
export function readQwen25Mmproj(file: GgufFile): Qwen25Config & { readonly pixels: Qwen25Pixels } {
  const { fields, shape, pixels } = readStepMmproj(file, 'Qwen2.5-VL', fixed);
  const { layers, patchSize, mergeSize } = shape;
  // Every so many layers one attends to the whole frame; 0 for all of them.
  const pattern = fields.read('clip.vision.n_wa_pattern', integer(0));
  const edge = fields.read('clip.vision.window_size', v.optional(integer(0), 0)) || usualWindow;
  const window = Math.floor(Math.floor(edge / patchSize) / mergeSize);
  if (window === 0)
    throw fields.error(`clip.vision.window_size ${edge} is less than a token's ${patchSize * mergeSize}`);
  const all = Array.from({ length: layers }, (_, index) => index);
  return {
    shape: {
      ...shape,
      window,
      fullLayers: pattern === 0 ? all : all.filter((index) => (index + 1) % pattern === 0),
      activation: readMmprojActivation(fields),
    },
    positionsPerSecond,
    pixels: { ...usualPixels, ...pixels },
  };
}
