// What Qwen2.5-VL's and Qwen3-VL's Hugging Face folders say in the same words: a tower's sizes, and its video processor.
import * as v from 'valibot';
import { integer, positiveNumber } from '../../base/schema.js';
import { type Activation, activations } from '../../compute/activations.js';
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
import type { StepShape } from './shape.js';

/** A size, with what it is where it is absent or null. */
export const size = (usual: number) => v.nullish(integer(1), usual);

/** Indices of layers, with what they are where they are absent or null. */
export const layerIndices = (usual: readonly number[]) =>
  v.nullish(v.pipe(v.array(integer(0)), v.maxLength(1000)), [...usual]);

const rotary = v.nullish(
  v.object({
    rope_theta: v.nullish(positiveNumber, 10_000),
    rope_type: v.nullish(v.picklist(['axial', 'default'])),
  }),
  {},
);

/** Of every normalisation of the towers, which no configuration names. */
const epsilon = 1e-6;

/** What a configuration means that does not say it. */
export type UsualSizes = Pick<
  StepShape,
  'layers' | 'channels' | 'intermediateSize' | 'patchSize' | 'width' | 'activation'
>;

/**
 * Reads the sizes that both have.
 * @returns `part`: the tower's configuration, for what else it says
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for what is not computed here; `ERR_LONGVLM_WEIGHTS` for values that are damaged
 *   or contradict each other
 */
export function readStepShape(root: ConfigPart, usual: UsualSizes): { part: ConfigPart; shape: StepShape } {
  const tower = partOf(root, 'vision_config');
  const part = isSet(tower) ? tower : { ...tower, value: {} };
  const read = readPart(sizesWith(usual), part);
  const { hidden_act: activation } = readPart(choicesWith(usual.activation), part, unsupportedConfig);
  const { rope_theta: theta = 10_000 } = readPart(rotary, partOf(part, 'rope_parameters'), unsupportedConfig);
  const { depth: layers, hidden_size: channels, num_heads: heads } = read;
  if (channels % (4 * heads) !== 0)
    throw damagedConfig(
      root.file,
      `${part.name}.hidden_size ${channels} is no multiple of 4 times ${part.name}.num_heads ${heads}`,
    );
  const shape = {
    ...{ channels, layers, heads, theta, activation, epsilon },
    intermediateSize: read.intermediate_size,
    patchSize: read.patch_size,
    framesPerStep: read.temporal_patch_size,
    mergeSize: read.spatial_merge_size,
    width: read.out_hidden_size,
  };
  return { part, shape };
}

const sizesWith = ({ layers, channels, intermediateSize, patchSize, width }: UsualSizes) =>
  v.object({
    depth: size(layers),
    hidden_size: size(channels),
    intermediate_size: size(intermediateSize),
    num_heads: size(16),
    patch_size: size(patchSize),
    spatial_merge_size: size(2),
    temporal_patch_size: size(2),
    out_hidden_size: size(width),
  });

const choicesWith = (activation: Activation) =>
  v.object({ hidden_act: v.nullish(v.picklist(activations), activation), in_channels: v.nullish(v.literal(3), 3) });

/** @throws LongVLMError unless the indices under `key` are layers of the tower that ascend */
export function checkLayerIndices(part: ConfigPart, key: string, indices: readonly number[], layers: number): void {
  if (indices.some((index, place) => index >= layers || index <= (indices[place - 1] ?? -1)))
    throw damagedConfig(
      part.file,
      `${partOf(part, key).name} ${indices} are not layers from 0 to ${layers - 1} that ascend`,
    );
}

const isOn = v.nullish(v.boolean(), true);
const switches = v.object({ do_resize: isOn, do_normalize: isOn, do_rescale: isOn });
const filter = v.object({ resample: v.nullish(v.literal(3, '3 (bicubic)'), 3) });
const rescaling = v.object({ rescale_factor: v.nullish(positiveNumber, 1 / 255) });

/**
 * How a folder's video processor makes pixels: nested in processor_config.json, else in video_preprocessor_config.json, else as
 * preprocessor_config.json has it.
 * @returns `root`: the processor's configuration, for what else it says; undefined where no file has one
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for what is not done here; `ERR_LONGVLM_WEIGHTS` for damaged values
 */
export async function readVideoPixels(
  files: VisionFiles,
  shape: StepShape,
  usual: Pick<PixelNormalization, 'mean' | 'std'>,
): Promise<{ root: ConfigPart; normalization: PixelNormalization } | undefined> {
  const root = (await readVideoProcessor(files)) ?? (await readConfigFileIfThere(files.preprocessor));
  if (!root) return undefined;
  const { do_resize, do_normalize, do_rescale } = readPart(switches, root);
  if (!do_resize) throw unsupportedConfig(root.file, 'do_resize false leaves frames in their own size');
  readPart(filter, root, unsupportedConfig);
  checkSame(root, shape);
  const { image_mean: mean, image_std: std } = do_normalize
    ? readPart(normalizationWith(usual), root)
    : ({ image_mean: [0, 0, 0], image_std: [1, 1, 1] } as const);
  const { rescale_factor: rescale } = do_rescale ? readPart(rescaling, root) : { rescale_factor: 1 };
  return { root, normalization: { mean, std, rescale } };
}

const normalizationWith = ({ mean, std }: Pick<PixelNormalization, 'mean' | 'std'>) =>
  v.object({ image_mean: v.nullish(perChannel, [...mean]), image_std: v.nullish(perChannel, [...std]) });

/** @throws LongVLMError where the processor cuts other patches than the tower takes */
function checkSame(root: ConfigPart, { patchSize, mergeSize, framesPerStep }: StepShape): void {
  const due = { patch_size: patchSize, merge_size: mergeSize, temporal_patch_size: framesPerStep };
  for (const [key, value] of Object.entries(due)) {
    const part = partOf(root, key);
    const given = readPart(size(value), part);
    if (given !== value)
      throw damagedConfig(root.file, `${part.name} is ${given}, where the tower of config.json has ${value}`);
  }
}

/** The most tokens that a processor caps its frames by, `usual` where it does not say how many; undefined if it caps none. */
export function readTokenCap(root: ConfigPart, usual: number): number | undefined {
  const cap = v.object({ cap_pixels_per_frame: v.nullish(v.boolean(), false), max_video_tokens: size(usual) });
  const { cap_pixels_per_frame, max_video_tokens } = readPart(cap, root);
  return cap_pixels_per_frame ? max_video_tokens : undefined;
}
