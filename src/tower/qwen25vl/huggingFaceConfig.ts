// What a Hugging Face folder says about the vision tower of its Qwen2.5-VL, and about the pixels that it takes.
import * as v from 'valibot';
import { integer, positiveNumber } from '../../base/schema.js';
import { type ConfigPart, damagedConfig, partOf, readPart } from '../../files/configFile.js';
import type { VisionFiles } from '../huggingFace/files.js';
import type { FrameBounds } from '../qwen3vl/videoSize.js';
import {
  checkLayerIndices,
  layerIndices,
  readStepShape,
  readTokenCap,
  readVideoPixels,
  size,
  type UsualSizes,
} from '../qwen3vl/visionConfig.js';
import type { PixelNormalization } from '../source.js';
import type { Qwen25Shape } from './shape.js';

/** Pixels as a video processor makes them. */
export type Qwen25Pixels = PixelNormalization & Omit<FrameBounds, 'cell' | 'framesPerStep'>;

/** The sizes of a tower, and how fast time passes for its language model: positions of a second. */
export type Qwen25Config = { readonly shape: Qwen25Shape; readonly positionsPerSecond: number };

// What is absent or null has the value of Hugging Face's Qwen2_5_VLVisionConfig.
const usualSizes: UsualSizes = {
  ...{ layers: 32, channels: 3584, intermediateSize: 3420, patchSize: 14, width: 3584 },
  activation: 'silu',
};
const fields = v.object({
  tokens_per_second: v.nullish(positiveNumber, 4),
  window_size: size(112),
  fullatt_block_indexes: layerIndices([7, 15, 23, 31]),
});

/**
 * Reads the sizes of the tower.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for what is not computed here; `ERR_LONGVLM_WEIGHTS` for values that are damaged
 *   or contradict each other
 */
export function readQwen25Config(root: ConfigPart): Qwen25Config {
  const { part, shape } = readStepShape(root, usualSizes);
  const { window_size, fullatt_block_indexes: fullLayers, tokens_per_second } = readPart(fields, part);
  const { mergeSize, patchSize } = shape;
  const window = Math.floor(Math.floor(window_size / mergeSize) / patchSize);
  if (window === 0)
    throw damagedConfig(
      root.file,
      `${part.name}.window_size ${window_size} is less than ${part.name}.spatial_merge_size ${mergeSize} patches of ${part.name}.patch_size ${patchSize}`,
    );
  checkLayerIndices(part, 'fullatt_block_indexes', fullLayers, shape.layers);
  return { shape: { ...shape, window, fullLayers }, positionsPerSecond: tokens_per_second };
}

/** The pixels that a processor of such a model makes where it says nothing of them. */
export const usualPixels: Qwen25Pixels = {
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
  rescale: 1 / 255,
  minPixels: 128 * 28 * 28,
  maxPixels: 768 * 28 * 28,
};

const pixels = v.nullish(integer(1));
const byEdges = v.nullish(v.object({ shortest_edge: pixels, longest_edge: pixels }), {});
const byNames = v.object({ min_pixels: pixels, max_pixels: pixels });

/**
 * The pixels of a folder's video processor.
 * @throws as {@link readVideoPixels}
 */
export async function readQwen25Pixels(files: VisionFiles, shape: Qwen25Shape): Promise<Qwen25Pixels> {
  const read = await readVideoPixels(files, shape, usualPixels);
  if (!read) return usualPixels;
  const { root, normalization } = read;
  const { min_pixels, max_pixels } = readPart(byNames, root);
  const { shortest_edge, longest_edge } = readPart(byEdges, partOf(root, 'size'));
  const minPixels = min_pixels ?? shortest_edge ?? usualPixels.minPixels;
  const maxPixels = max_pixels ?? longest_edge ?? usualPixels.maxPixels;
  if (minPixels > maxPixels)
    throw damagedConfig(root.file, `its frames have ${minPixels} pixels at least, above ${maxPixels} at most`);
  const maxVideoTokens = readTokenCap(root, 128_000);
  return { ...normalization, minPixels, maxPixels, ...(maxVideoTokens !== undefined && { maxVideoTokens }) };
}
