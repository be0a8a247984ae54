// What a Hugging Face folder says about its CLIP vision tower, and about which of its hidden states are the patches.
import * as v from 'valibot';
import { integer, jsonObject } from '../../base/schema.js';
import {
  type ConfigPart,
  isObject,
  isSet,
  partOf,
  readConfigFile,
  readPart,
  unsupportedConfig,
} from '../../files/configFile.js';
import { readImageProcessor, type VisionFiles } from '../huggingFace/files.js';
import { type ModelType, readPixels } from '../huggingFace/pixels.js';
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
} as const satisfies Record<ModelType, v.GenericSchema>;

const modelType = v.object({ model_type: v.picklist(Object.keys(modelTypes) as ModelType[]) });

// What is absent or null has the value of Hugging Face's CLIPVisionConfig.
const ownShape: ShapeDefaults = {
  ...{ image_size: 224, patch_size: 32, num_hidden_layers: 12, hidden_size: 768, intermediate_size: 3072 },
  ...{ num_attention_heads: 12, layer_norm_eps: 1e-5, hidden_act: 'quick_gelu' },
};
const strategy = v.object({ vision_feature_select_strategy: v.nullish(v.picklist(['default', 'full']), 'default') });

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
  const pixels = readPixels(await readImageProcessor(files), model_type, shape.imageSize);
  return { ...shape, ...pixels, ...(model_type === 'llava_next' && { note: wholeFrames }) };
}

/** What is said of models that see tiles of single images. */
export const wholeFrames =
  'each frame is taken as one picture, without the tiles that LLaVA-NeXT cuts from single images';

function readShape(root: ConfigPart, type: ModelType): ClipShape {
  const nested = partOf(root, 'vision_config');
  const shape = readVisionShape(isObject(nested) ? nested : root, ownShape);
  return { ...shape, ...readFeatures(root, type, shape.layers) };
}

/** Which hidden states the patches are, and whether the class token stays among them. */
function readFeatures(
  root: ConfigPart,
  type: ModelType,
  layers: number,
): Pick<ClipShape, 'patchLayers' | 'keepsClassToken'> {
  // LongVLM, too, takes the patches of the last state but one.
  if (type === 'clip' || type === 'clip_vision_model') return { patchLayers: [layers - 1], keepsClassToken: false };
  if (partOf(root, 'image_aspect_ratio').value === 'pad')
    throw unsupportedConfig(
      root.file,
      "image_aspect_ratio 'pad' is of LLaVA's own code, which transformers does not read",
      'Remove it, and set do_pad in preprocessor_config.json if frames are to be padded.',
    );
  const name = type === 'vipllava' ? 'vision_feature_layers' : 'vision_feature_layer';
  const place = integer(-layers - 1, layers);
  const places = v.pipe(
    v.array(place),
    v.minLength(1, 'at least 1 layer'),
    v.maxLength(layers + 1, `at most ${layers + 1} layers`),
  );
  const part = partOf(root, name);
  const fallback = type === 'vipllava' ? [-2, -5, -8, -11, 6] : -2;
  const given = isSet(part) ? part : { ...part, value: fallback };
  const found = [readPart(Array.isArray(given.value) ? places : place, given)].flat();
  return {
    patchLayers: found.map((layer) => (layer < 0 ? layers + 1 + layer : layer)),
    keepsClassToken:
      type !== 'vipllava' && readPart(strategy, root, unsupportedConfig).vision_feature_select_strategy === 'full',
  };
}

function noClip(file: string, cause: string) {
  return unsupportedConfig(
    file,
    cause,
    'Give a CLIP vision tower (model_type clip_vision_model, or clip), or a LLaVA that has one.',
  );
}
