// What a Hugging Face folder says about its CLIP vision tower, and about which of its hidden states are the patches.
import * as v from 'valibot';
import { jsonObject } from '../../base/schema.js';
import {
  type ConfigPart,
  isObject,
  partOf,
  readConfigFile,
  readPart,
  unsupportedConfig,
} from '../../files/configFile.js';
import { readFeatures } from '../huggingFace/features.js';
import { readImageProcessor, type VisionFiles } from '../huggingFace/files.js';
import { type Processor, readPixels } from '../huggingFace/pixels.js';
import { readVisionShape, type ShapeDefaults } from '../huggingFace/shape.js';
import type { PixelRules } from '../source.js';
import type { ClipShape } from './towerGraph.js';

/** A CLIP tower as its files describe it. */
export type ClipConfig = ClipShape & Omit<PixelRules, 'imageSize'> & { readonly note?: string };

// What a model of each type needs to have a CLIP vision tower.
const whole = v.object({ vision_config: v.object({ model_type: v.literal('clip_vision_model') }) });
const modelTypes = {
  clip_vision_model: v.object({}),
  clip: v.object({ vision_config: jsonObject }),
  llava: whole,
  llava_next: whole,
  vipllava: whole,
} as const;

type ModelType = keyof typeof modelTypes;

// The image processor that a model of each type has where its file names none.
const processorOf: Readonly<Record<ModelType, Processor>> = {
  clip_vision_model: 'CLIPImageProcessor',
  clip: 'CLIPImageProcessor',
  llava: 'LlavaImageProcessor',
  llava_next: 'LlavaNextImageProcessor',
  vipllava: 'CLIPImageProcessor',
};

const modelType = v.object({ model_type: v.picklist(Object.keys(modelTypes) as ModelType[]) });

// What is absent or null has the value of Hugging Face's CLIPVisionConfig.
const ownShape: ShapeDefaults = {
  ...{ image_size: 224, patch_size: 32, num_hidden_layers: 12, hidden_size: 768, intermediate_size: 3072 },
  ...{ num_attention_heads: 12, layer_norm_eps: 1e-5, hidden_act: 'quick_gelu' },
};

/**
 * Reads a CLIP folder's config.json, and what it says about pixels: the image processor in processor_config.json, else
 * preprocessor_config.json, else CLIP's own.
 *
 * @throws LongVLMError `ERR_LONGVLM_FILE` when config.json is missing; `ERR_LONGVLM_UNSUPPORTED` for anything but a CLIP
 * vision tower, and for pixels or patches that this package cannot make; `ERR_LONGVLM_WEIGHTS` for damaged or contradicting
 * values.
 */
export async function readVisionConfig(files: VisionFiles): Promise<ClipConfig> {
  const root = await readConfigFile(files.config);
  const { model_type } = readPart(modelType, root, noClip);
  readPart(modelTypes[model_type], root, noClip);
  const shape = readShape(root, model_type);
  const pixels = readPixels(await readImageProcessor(files), processorOf[model_type], shape.imageSize);
  return { ...shape, ...pixels, ...(model_type === 'llava_next' && { note: wholeFrames }) };
}

/** What is said of models that see tiles of single images. */
export const wholeFrames =
  'each frame is taken as one picture, without the tiles that LLaVA-NeXT cuts from single images';

function readShape(root: ConfigPart, type: ModelType): ClipShape {
  const nested = partOf(root, 'vision_config');
  const shape = readVisionShape(isObject(nested) ? nested : root, ownShape);
  // LongVLM, too, takes the patches of the last state but one.
  const features =
    type === 'clip' || type === 'clip_vision_model'
      ? { patchLayers: [shape.layers - 1], keepsFirst: false }
      : readFeatures(root, type, shape.layers);
  return { ...shape, patchLayers: features.patchLayers, keepsClassToken: features.keepsFirst };
}

function noClip(file: string, cause: string) {
  return unsupportedConfig(
    file,
    cause,
    'Give a CLIP vision tower (model_type clip_vision_model, or clip), or a LLaVA that has one.',
  );
}
