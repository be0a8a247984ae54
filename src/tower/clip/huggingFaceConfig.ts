// What a Hugging Face folder says about its CLIP vision tower, and about which of its hidden states are the patches.
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { fileError } from '../../base/fileError.js';
import { integer, jsonObject, positiveNumber } from '../../base/schema.js';
import { activations } from '../../compute/activations.js';
import {
  type ConfigPart,
  damagedConfig,
  isObject,
  isSet,
  partOf,
  readConfigFile,
  readConfigFileIfThere,
  readPart,
  unsupportedConfig,
} from '../../files/configFile.js';
import type { PixelRules } from '../source.js';
import { type ModelType, readPixels } from './huggingFacePixels.js';
import type { ClipShape } from './towerGraph.js';

/** A CLIP tower as its files describe it. */
export type ClipConfig = ClipShape & Omit<PixelRules, 'imageSize'> & { readonly note?: string };

/** Where a tower's parts lie. */
export type VisionFiles = {
  readonly config: string;
  readonly processor: string;
  readonly preprocessor: string;
  readonly weights: string;
};

const size = (fallback: number) => v.nullish(integer(1), fallback);

/** An epsilon of a normalisation: a larger one would leave nothing of any value. */
export const epsilon = v.pipe(positiveNumber, v.maxValue(1, 'positive number of at most 1'));

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
const shapeFields = v.object({
  image_size: size(224),
  patch_size: size(32),
  num_hidden_layers: size(12),
  hidden_size: size(768),
  intermediate_size: size(3072),
  num_attention_heads: size(12),
  layer_norm_eps: v.nullish(epsilon, 1e-5),
});
const shapeChoices = v.object({
  hidden_act: v.nullish(v.picklist(activations), 'quick_gelu'),
  num_channels: v.nullish(v.literal(3), 3),
});
const strategy = v.object({ vision_feature_select_strategy: v.nullish(v.picklist(['default', 'full']), 'default') });

/**
 * The files of a CLIP folder, given the folder or the weights in it; `weights` may be the folder, where they have to be found.
 * @throws LongVLMError `ERR_LONGVLM_FILE` when `path` does not exist.
 */
export async function visionFiles(path: string): Promise<VisionFiles> {
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    (error: unknown) => Promise.reject(fileError(path, error)),
  );
  const folder = isFolder ? path : dirname(path);
  return {
    config: join(folder, 'config.json'),
    processor: join(folder, 'processor_config.json'),
    preprocessor: join(folder, 'preprocessor_config.json'),
    weights: path,
  };
}

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
  const pixels = readPixels(await imageProcessor(files), model_type, shape.imageSize);
  return { ...shape, ...pixels, ...(model_type === 'llava_next' && { note: wholeFrames }) };
}

/** What is said of models that see tiles of single images. */
export const wholeFrames =
  'each frame is taken as one picture, without the tiles that LLaVA-NeXT cuts from single images';

/** As transformers does: the nested one of its version 5 goes before the file of its own. */
async function imageProcessor(files: VisionFiles): Promise<ConfigPart> {
  const root = await readConfigFileIfThere(files.processor);
  const nested = root && partOf(root, 'image_processor');
  if (nested && isSet(nested)) {
    readPart(jsonObject, nested);
    return nested;
  }
  return (await readConfigFileIfThere(files.preprocessor)) ?? { file: files.preprocessor, name: '', value: {} };
}

function readShape(root: ConfigPart, type: ModelType): ClipShape {
  const nested = partOf(root, 'vision_config');
  const tower = isObject(nested) ? nested : root;
  const fields = readPart(shapeFields, tower);
  const { hidden_act: activation } = readPart(shapeChoices, tower, unsupportedConfig);
  const { num_hidden_layers: layers } = fields;
  const { hidden_size: channels, num_attention_heads: heads, image_size: imageSize, patch_size: patchSize } = fields;
  const named = (key: keyof typeof fields) => `${partOf(tower, key).name} ${fields[key]}`;
  if (channels % heads !== 0)
    throw damagedConfig(tower.file, `${named('hidden_size')} is no multiple of ${named('num_attention_heads')}`);
  if (patchSize > imageSize) throw damagedConfig(tower.file, `${named('patch_size')} is above ${named('image_size')}`);
  return {
    channels,
    intermediateSize: fields.intermediate_size,
    layers,
    heads,
    imageSize,
    patchSize,
    patches: Math.floor(imageSize / patchSize) ** 2,
    ...readFeatures(root, type, layers),
    activation,
    layerNormEpsilon: fields.layer_norm_eps,
  };
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
