// What a Hugging Face folder says about the vision tower of its Qwen2.5-VL, and about the pixels that it takes.
import * as v from 'valibot';
import { integer, positiveNumber } from '../../base/schema.js';
import { activations } from '../../compute/activations.js';
import {
  type ConfigPart,
  damagedConfig,
  isSet,
  partOf,
  readConfigFileIfThere,
  readPart,
  unsupportedConfig,
} from '../../files/configFile.js';
import { perChannel } from '../fields.js';
import { readVideoProcessor, type VisionFiles } from '../huggingFace/files.js';
import type { FrameBounds } from '../qwen3vl/videoSize.js';
import type { PixelNormalization } from '../source.js';
import type { Qwen25Shape } from './shape.js';

/** Pixels as a video processor makes them. */
export type Qwen25Pixels = PixelNormalization & Omit<FrameBounds, 'cell' | 'framesPerStep'>;

/** The sizes of a tower, and how fast time passes for its language model: positions of a second. */
export type Qwen25Config = { readonly shape: Qwen25Shape; readonly positionsPerSecond: number };

const size = (fallback: number) => v.nullish(integer(1), fallback);

// What is absent or null has the value of Hugging Face's Qwen2_5_VLVisionConfig.
const fields = v.object({
  depth: size(32),
  hidden_size: size(3584),
  intermediate_size: size(3420),
  num_heads: size(16),
  patch_size: size(14),
  spatial_merge_size: size(2),
  temporal_patch_size: size(2),
  tokens_per_second: v.nullish(positiveNumber, 4),
  window_size: size(112),
  out_hidden_size: size(3584),
  fullatt_block_indexes: v.nullish(v.pipe(v.array(integer(0)), v.maxLength(1000)), [7, 15, 23, 31]),
});
const choices = v.object({
  hidden_act: v.nullish(v.picklist(activations), 'silu'),
  in_channels: v.nullish(v.literal(3), 3),
});
const rotary = v.nullish(
  v.object({
    rope_theta: v.nullish(positiveNumber, 10_000),
    rope_type: v.nullish(v.picklist(['axial', 'default'])),
  }),
  {},
);

/** Of every normalisation of the tower, which no configuration names. */
const epsilon = 1e-6;

/**
 * Reads the sizes of the tower.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for what is not computed here; `ERR_LONGVLM_WEIGHTS` for values that are damaged
 *   or contradict each other
 */
export function readQwen25Config(root: ConfigPart): Qwen25Config {
  const tower = partOf(root, 'vision_config');
  const given = isSet(tower) ? tower : { ...tower, value: {} };
  const read = readPart(fields, given);
  const { hidden_act: activation } = readPart(choices, given, unsupportedConfig);
  const { rope_theta: theta = 10_000 } = readPart(rotary, partOf(given, 'rope_parameters'), unsupportedConfig);
  const { depth: layers, hidden_size: channels, num_heads: heads, fullatt_block_indexes: fullLayers } = read;
  const named = (key: keyof typeof read) => `${tower.name}.${key} ${read[key]}`;
  if (channels % (4 * heads) !== 0)
    throw damagedConfig(root.file, `${named('hidden_size')} is no multiple of 4 times ${named('num_heads')}`);
  const window = Math.floor(Math.floor(read.window_size / read.spatial_merge_size) / read.patch_size);
  if (window === 0)
    throw damagedConfig(
      root.file,
      `${named('window_size')} is less than ${named('spatial_merge_size')} patches of ${named('patch_size')}`,
    );
  if (fullLayers.some((index, place) => index >= layers || index <= (fullLayers[place - 1] ?? -1)))
    throw damagedConfig(
      root.file,
      `${named('fullatt_block_indexes')} are not layers from 0 to ${layers - 1} that ascend`,
    );
  return {
    shape: {
      ...{ channels, layers, heads, theta, window, fullLayers, activation, epsilon },
      intermediateSize: read.intermediate_size,
      patchSize: read.patch_size,
      framesPerStep: read.temporal_patch_size,
      mergeSize: read.spatial_merge_size,
      width: read.out_hidden_size,
    },
    positionsPerSecond: read.tokens_per_second,
  };
}

const [mean, std] = [
  [0.48145466, 0.4578275, 0.40821073],
  [0.26862954, 0.26130258, 0.27577711],
] as const;

/** The pixels that a processor of such a model makes where it says nothing of them. */
export const usualPixels: Qwen25Pixels = {
  ...{ mean, std, rescale: 1 / 255 },
  ...{ minPixels: 128 * 28 * 28, maxPixels: 768 * 28 * 28 },
};

const isOn = v.nullish(v.boolean(), true);
const switches = v.object({ do_resize: isOn, do_normalize: isOn, do_rescale: isOn });
const filter = v.object({ resample: v.nullish(v.literal(3, '3 (bicubic)'), 3) });
const rescaling = v.object({ rescale_factor: v.nullish(positiveNumber, 1 / 255) });
const normalization = v.object({
  image_mean: v.nullish(perChannel, [...mean]),
  image_std: v.nullish(perChannel, [...std]),
});
const pixels = v.nullish(integer(1));
const byEdges = v.nullish(v.object({ shortest_edge: pixels, longest_edge: pixels }), {});
const byNames = v.object({ min_pixels: pixels, max_pixels: pixels });
const cap = v.object({ cap_pixels_per_frame: v.nullish(v.boolean(), false), max_video_tokens: size(128_000) });

/**
 * The pixels of a folder's video processor: nested in processor_config.json, else in video_preprocessor_config.json, else as
 * preprocessor_config.json has them.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for what is not done here; `ERR_LONGVLM_WEIGHTS` for damaged values
 */
export async function readQwen25Pixels(files: VisionFiles, shape: Qwen25Shape): Promise<Qwen25Pixels> {
  const root = (await readVideoProcessor(files)) ?? (await readConfigFileIfThere(files.preprocessor));
  if (!root) return usualPixels;
  const { do_resize, do_normalize, do_rescale } = readPart(switches, root);
  if (!do_resize) throw unsupportedConfig(root.file, 'do_resize false leaves frames in their own size');
  readPart(filter, root, unsupportedConfig);
  checkSame(root, shape);
  const normalized = do_normalize
    ? readPart(normalization, root)
    : ({ image_mean: [0, 0, 0], image_std: [1, 1, 1] } as const);
  const { rescale_factor: rescale } = do_rescale ? readPart(rescaling, root) : { rescale_factor: 1 };
  const { min_pixels, max_pixels } = readPart(byNames, root);
  const { shortest_edge, longest_edge } = readPart(byEdges, partOf(root, 'size'));
  const minPixels = min_pixels ?? shortest_edge ?? usualPixels.minPixels;
  const maxPixels = max_pixels ?? longest_edge ?? usualPixels.maxPixels;
  if (minPixels > maxPixels)
    throw damagedConfig(root.file, `its frames have ${minPixels} pixels at least, above ${maxPixels} at most`);
  const { cap_pixels_per_frame, max_video_tokens: maxVideoTokens } = readPart(cap, root);
  return {
    ...{ mean: normalized.image_mean, std: normalized.image_std, rescale, minPixels, maxPixels },
    ...(cap_pixels_per_frame && { maxVideoTokens }),
  };
}

/** @throws LongVLMError where the processor cuts other patches than the tower takes */
function checkSame(root: ConfigPart, { patchSize, mergeSize, framesPerStep }: Qwen25Shape): void {
  const due = { patch_size: patchSize, merge_size: mergeSize, temporal_patch_size: framesPerStep };
  for (const [key, value] of Object.entries(due)) {
    const given = readPart(size(value), partOf(root, key));
    if (given !== value)
      throw damagedConfig(
        root.file,
        `${partOf(root, key).name} is ${given}, where the tower of config.json has ${value}`,
      );
  }
}
