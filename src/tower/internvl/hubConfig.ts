// What a folder of transformers says about InternVL's vision tower and projector.
import * as v from 'valibot';
import { integer, jsonObject } from '../../base/schema.js';
import { activations } from '../../compute/activations.js';
import {
  type ConfigPart,
  damagedConfig,
  isObject,
  isSet,
  partOf,
  readPart,
  unsupportedConfig,
} from '../../files/configFile.js';
import { readImageProcessor, readVideoProcessor, type VisionFiles } from '../huggingFace/files.js';
import { readPixels } from '../huggingFace/pixels.js';
import { readVisionShape } from '../huggingFace/shape.js';
import type { PixelRules } from '../source.js';
import type { InternvlShape } from './towerGraph.js';

/** A tower as its files describe it. */
export type InternvlConfig = InternvlShape & Omit<PixelRules, 'imageSize'>;

/** How the authors make pixels of a frame, or of a tile. */
export function ownPixels(imageSize: number): Omit<PixelRules, 'imageSize'> {
  return {
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    rescale: 1 / 255,
    resize: 'squash',
    filter: 'bicubic',
    shortestEdge: imageSize,
  };
}

// What is absent or null has the value of InternVLVisionConfig and InternVLConfig.
const defaults = {
  image_size: 448,
  patch_size: 14,
  num_hidden_layers: 24,
  hidden_size: 1024,
  intermediate_size: 4096,
  num_attention_heads: 16,
  layer_norm_eps: 1e-6,
  hidden_act: 'gelu',
} as const;
const visionChoices = v.object({
  model_type: v.nullish(v.literal('internvl_vision')),
  norm_type: v.nullish(v.picklist(['layer_norm', 'rms_norm']), 'layer_norm'),
  use_absolute_position_embeddings: v.nullish(v.literal(true), true),
});
const visionSwitches = v.object({
  attention_bias: v.nullish(v.boolean(), false),
  use_qk_norm: v.nullish(v.boolean(), false),
  use_mean_pooling: v.nullish(v.boolean(), true),
});
const choices = v.object({
  projector_hidden_act: v.nullish(v.picklist(activations), 'gelu'),
  vision_feature_select_strategy: v.nullish(v.literal('default'), 'default'),
});
const ratio = v.object({ downsample_ratio: v.nullish(v.number(), 0.5) });

// Of InternVLVisionRMSNorm, whatever layer_norm_eps is.
const headEpsilon = 1e-6;

/**
 * Reads config.json of a folder, and what its video processor does with pixels.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for what is not computed here, `ERR_LONGVLM_WEIGHTS` for damaged values
 */
export async function readHubConfig(root: ConfigPart, files: VisionFiles): Promise<InternvlConfig> {
  const nested = partOf(root, 'vision_config');
  const vision = isSet(nested) ? squareSizes(nested) : { ...nested, value: {} };
  const shape = readVisionShape(vision, defaults);
  const { norm_type } = readPart(visionChoices, vision, unsupportedConfig);
  const switches = readPart(visionSwitches, vision);
  const { projector_hidden_act: projectorActivation } = readPart(choices, root, unsupportedConfig);
  const patchLayer = readPatchLayer(partOf(root, 'vision_feature_layer'), shape.layers);
  return {
    ...shape,
    normalization: { kind: norm_type === 'rms_norm' ? 'rms' : 'layer', epsilon: shape.layerNormEpsilon },
    queryKeyEpsilon: switches.use_qk_norm ? headEpsilon : undefined,
    attentionBias: switches.attention_bias,
    ...patchLayer,
    endNorm: patchLayer.isEnd && !switches.use_mean_pooling,
    factor: readFactor(root, shape),
    projectorActivation,
    ...(await pixelsOf(files, shape.imageSize)),
  };
}

/** Rows and columns of patches that make one token. */
export function readFactor(root: ConfigPart, { imageSize, patchSize }: Pick<InternvlShape, 'imageSize' | 'patchSize'>) {
  const { downsample_ratio } = readPart(ratio, root);
  const factor = Math.round(1 / downsample_ratio);
  const { name } = partOf(root, 'downsample_ratio');
  if (!(factor >= 1 && Math.abs(1 / factor - downsample_ratio) < 1e-6))
    throw unsupportedConfig(root.file, `${name} ${downsample_ratio} is no whole part of 1`);
  const side = Math.floor(imageSize / patchSize);
  if (side % factor !== 0)
    throw damagedConfig(
      root.file,
      `${side} rows and columns of patches cannot be joined by ${name} ${downsample_ratio}`,
    );
  return factor;
}

/** -1 is the end of the tower, other numbers its hidden states, counted from the end where they are negative. */
export function readPatchLayer(part: ConfigPart, layers: number): { patchLayer: number; isEnd: boolean } {
  if (Array.isArray(part.value))
    throw unsupportedConfig(part.file, `${part.name} is a list, where InternVL projects one hidden state`);
  const layer = readPart(v.nullish(integer(-layers - 1, layers), -1), part);
  return { patchLayer: layer < 0 ? layers + 1 + layer : layer, isEnd: layer === -1 };
}

/** Sizes are a number, or height and width. */
function squareSizes(vision: ConfigPart): ConfigPart {
  readPart(jsonObject, vision);
  const square = (key: string) => {
    const part = partOf(vision, key);
    if (!Array.isArray(part.value)) return part.value;
    const [height, width] = readPart(v.strictTuple([integer(1), integer(1)]), part);
    if (height !== width) throw unsupportedConfig(part.file, `${part.name} ${width}x${height} is not square`);
    return height;
  };
  const sizes = { image_size: square('image_size'), patch_size: square('patch_size') };
  return { ...vision, value: { ...(vision.value as object), ...sizes } };
}

/** As transformers does: the video processor has the image processor's settings where none are its own. */
async function pixelsOf(files: VisionFiles, imageSize: number): Promise<Omit<PixelRules, 'imageSize'>> {
  const processor = (await readVideoProcessor(files)) ?? (await readImageProcessor(files));
  const isThere = isObject(processor) && Object.keys(processor.value as object).length > 0;
  return isThere ? readPixels(processor, 'InternVLVideoProcessor', imageSize) : ownPixels(imageSize);
}
