// What a Hugging Face folder says about the vision tower of its Qwen3-VL, and about the pixels that it takes.
import * as v from 'valibot';
import { integer } from '../../base/schema.js';
import { type ConfigPart, damagedConfig, partOf, readConfigFileIfThere, readPart } from '../../files/configFile.js';
import type { VisionFiles } from '../huggingFace/files.js';
import type { PixelNormalization } from '../source.js';
import type { QwenShape } from './shape.js';
import type { SizeBounds } from './videoSize.js';
import {
  checkLayerIndices,
  layerIndices,
  readStepShape,
  readTokenCap,
  readVideoPixels,
  size,
  type UsualSizes,
} from './visionConfig.js';

/** Pixels as a video processor makes them. */
export type QwenPixels = PixelNormalization & Omit<SizeBounds, 'cell' | 'framesPerStep'>;

const modelType = v.object({ model_type: v.picklist(['qwen3_vl', 'qwen3_vl_moe']) });

// What is absent or null has the value of Hugging Face's Qwen3VLVisionConfig.
const usualSizes: UsualSizes = {
  ...{ layers: 27, channels: 1152, intermediateSize: 4304, patchSize: 16, width: 3584 },
  activation: 'gelu_pytorch_tanh',
};
const fields = v.object({ num_position_embeddings: size(2304), deepstack_visual_indexes: layerIndices([8, 16, 24]) });

/** Whether config.json is that of a Qwen3-VL. */
export async function isQwenFolder(files: VisionFiles): Promise<boolean> {
  const root = await readConfigFileIfThere(files.config).catch(() => undefined);
  return root !== undefined && v.is(modelType, root.value);
}

/**
 * Reads the sizes of the tower.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for what is not computed here; `ERR_LONGVLM_WEIGHTS` for values that are damaged
 *   or contradict each other
 */
export function readQwenShape(root: ConfigPart): QwenShape {
  const { part, shape } = readStepShape(root, usualSizes);
  const { num_position_embeddings: all, deepstack_visual_indexes: deepstack } = readPart(fields, part);
  const positions = Math.round(Math.sqrt(all));
  if (positions ** 2 !== all)
    throw damagedConfig(root.file, `${part.name}.num_position_embeddings ${all} is no square`);
  checkLayerIndices(part, 'deepstack_visual_indexes', deepstack, shape.layers);
  return { ...shape, positions, deepstack };
}

/** The pixels of Qwen3-VL's released models, for files that say nothing of them. */
export const releasedPixels: QwenPixels = {
  mean: [0.5, 0.5, 0.5],
  std: [0.5, 0.5, 0.5],
  rescale: 1 / 255,
  minPixels: 4096,
  maxPixels: 25_165_824,
};

const pixelCounts = v.nullish(v.strictObject({ shortest_edge: integer(1), longest_edge: integer(1) }), {
  shortest_edge: releasedPixels.minPixels,
  longest_edge: releasedPixels.maxPixels,
});

/**
 * The pixels of a folder's video processor.
 * @throws as {@link readVideoPixels}
 */
export async function readQwenPixels(files: VisionFiles, shape: QwenShape): Promise<QwenPixels> {
  const read = await readVideoPixels(files, shape, releasedPixels);
  if (!read) return releasedPixels;
  const { root, normalization } = read;
  const bounds = partOf(root, 'size');
  const { shortest_edge: minPixels, longest_edge: maxPixels } = readPart(pixelCounts, bounds);
  if (minPixels > maxPixels)
    throw damagedConfig(
      root.file,
      `${bounds.name} has a shortest_edge ${minPixels} above its longest_edge ${maxPixels}`,
    );
  const maxStepTokens = readTokenCap(root, 768);
  return { ...normalization, minPixels, maxPixels, ...(maxStepTokens !== undefined && { maxStepTokens }) };
}
