// What a Hugging Face folder says about the vision tower of its Qwen3-VL, and about the pixels that it takes.
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
import type { PixelNormalization } from '../source.js';
import type { QwenShape } from './shape.js';
import type { SizeBounds } from './videoSize.js';

/** Pixels as a video processor makes them. */
export type QwenPixels = PixelNormalization & Omit<SizeBounds, 'cell' | 'framesPerStep'>;

const modelType = v.object({ model_type: v.picklist(['qwen3_vl', 'qwen3_vl_moe']) });

const size = (fallback: number) => v.nullish(integer(1), fallback);
const layer = integer(0);

// What is absent or null has the value of Hugging Face's Qwen3VLVisionConfig.
const fields = v.object({
  depth: size(27),
  hidden_size: size(1152),
  intermediate_size: size(4304),
  num_heads: size(16),
  patch_size: size(16),
  spatial_merge_size: size(2),
  temporal_patch_size: size(2),
  out_hidden_size: size(3584),
  num_position_embeddings: size(2304),
  deepstack_visual_indexes: v.nullish(v.pipe(v.array(layer), v.maxLength(1000)), [8, 16, 24]),
});
const choices = v.object({
  hidden_act: v.nullish(v.picklist(activations), 'gelu_pytorch_tanh'),
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
  const tower = partOf(root, 'vision_config');
  const given = isSet(tower) ? tower : { ...tower, value: {} };
  const read = readPart(fields, given);
  const { hidden_act: activation } = readPart(choices, given, unsupportedConfig);
  const { rope_theta: theta = 10_000 } = readPart(rotary, partOf(given, 'rope_parameters'), unsupportedConfig);
  const { depth: layers, hidden_size: channels, num_heads: heads, deepstack_visual_indexes: deepstack } = read;
  const named = (key: keyof typeof read) => `${tower.name}.${key} ${read[key]}`;
  if (channels % (4 * heads) !== 0)
    throw damagedConfig(root.file, `${named('hidden_size')} is no multiple of 4 times ${named('num_heads')}`);
  const positions = Math.round(Math.sqrt(read.num_position_embeddings));
  if (positions ** 2 !== read.num_position_embeddings)
    throw damagedConfig(root.file, `${named('num_position_embeddings')} is no square`);
  if (deepstack.some((index, place) => index >= layers || index <= (deepstack[place - 1] ?? -1)))
    throw damagedConfig(
      root.file,
      `${named('deepstack_visual_indexes')} are not layers from 0 to ${layers - 1} that ascend`,
    );
  return {
    channels,
    intermediateSize: read.intermediate_size,
    layers,
    heads,
    patchSize: read.patch_size,
    framesPerStep: read.temporal_patch_size,
    mergeSize: read.spatial_merge_size,
    positions,
    theta,
    deepstack,
    width: read.out_hidden_size,
    activation,
    epsilon,
  };
}

/** The pixels of Qwen3-VL's released models, for files that say nothing of them. */
export const releasedPixels: QwenPixels = {
  mean: [0.5, 0.5, 0.5],
  std: [0.5, 0.5, 0.5],
  rescale: 1 / 255,
  minPixels: 4096,
  maxPixels: 25_165_824,
};

const isOn = v.nullish(v.boolean(), true);
const switches = v.object({ do_resize: isOn, do_normalize: isOn, do_rescale: isOn });
const filter = v.object({ resample: v.nullish(v.literal(3, '3 (bicubic)'), 3) });
const rescaling = v.object({ rescale_factor: v.nullish(positiveNumber, 1 / 255) });
const normalization = v.object({
  image_mean: v.nullish(perChannel, [0.5, 0.5, 0.5]),
  image_std: v.nullish(perChannel, [0.5, 0.5, 0.5]),
});
const pixelCounts = v.nullish(v.strictObject({ shortest_edge: integer(1), longest_edge: integer(1) }), {
  shortest_edge: releasedPixels.minPixels,
  longest_edge: releasedPixels.maxPixels,
});
const cap = v.object({ cap_pixels_per_frame: v.nullish(v.boolean(), false), max_video_tokens: size(768) });

/**
 * The pixels of a folder's video processor: nested in processor_config.json, else in video_preprocessor_config.json, else as
 * preprocessor_config.json has them.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for what is not done here; `ERR_LONGVLM_WEIGHTS` for damaged values
 */
export async function readQwenPixels(files: VisionFiles, shape: QwenShape): Promise<QwenPixels> {
  const root = (await readVideoProcessor(files)) ?? (await readConfigFileIfThere(files.preprocessor));
  if (!root) return releasedPixels;
  const { do_resize, do_normalize, do_rescale } = readPart(switches, root);
  if (!do_resize) throw unsupportedConfig(root.file, 'do_resize false leaves frames in their own size');
  readPart(filter, root, unsupportedConfig);
  checkSame(root, shape);
  const { image_mean: mean, image_std: std } = do_normalize
    ? readPart(normalization, root)
    : ({ image_mean: [0, 0, 0], image_std: [1, 1, 1] } as const);
  const { rescale_factor: rescale } = do_rescale ? readPart(rescaling, root) : { rescale_factor: 1 };
  const size = partOf(root, 'size');
  const { shortest_edge: minPixels, longest_edge: maxPixels } = readPart(pixelCounts, size);
  if (minPixels > maxPixels)
    throw damagedConfig(root.file, `${size.name} has a shortest_edge ${minPixels} above its longest_edge ${maxPixels}`);
  const { cap_pixels_per_frame, max_video_tokens } = readPart(cap, root);
  return { mean, std, rescale, minPixels, maxPixels, ...(cap_pixels_per_frame && { maxStepTokens: max_video_tokens }) };
}

/** @throws LongVLMError where the processor cuts other patches than the tower takes */
function checkSame(root: ConfigPart, { patchSize, mergeSize, framesPerStep }: QwenShape): void {
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
