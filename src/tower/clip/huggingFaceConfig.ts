// What a Hugging Face CLIP folder says about its vision tower and its pixels.
import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { LongVLMError, messageOf } from '../../base/errors.js';
import { fileError } from '../../base/fileError.js';
import { finiteNumber, integer, jsonObject, parse, positiveNumber } from '../../base/schema.js';
import { weightsError } from '../../files/tensorFile.js';
import type { PixelRules } from '../source.js';
import type { ClipShape } from './towerGraph.js';

/** A CLIP tower as its files describe it. */
export type ClipConfig = ClipShape & Omit<PixelRules, 'imageSize'>;

/** Where a tower's parts lie. */
export type VisionFiles = { readonly config: string; readonly preprocessor: string; readonly weights: string };

/** A number for each colour channel. */
export const perChannel = v.strictTuple([finiteNumber, finiteNumber, finiteNumber]);

const size = (fallback: number) => v.nullish(integer(1), fallback);
const isOn = v.nullish(v.boolean(), true);

// What a model of each type needs to have a CLIP vision tower.
const modelTypes = {
  clip_vision_model: v.object({}),
  clip: v.object({ vision_config: jsonObject }),
  llava: v.object({ vision_config: v.object({ model_type: v.literal('clip_vision_model') }) }),
};
const modelType = v.object({ model_type: v.picklist(['clip_vision_model', 'clip', 'llava']) });

// What is absent or null has the value of Hugging Face's CLIPVisionConfig and CLIPImageProcessor.
const shapeFields = v.object({
  image_size: size(224),
  patch_size: size(32),
  num_hidden_layers: size(12),
  hidden_size: size(768),
  intermediate_size: size(3072),
  num_attention_heads: size(12),
  layer_norm_eps: v.nullish(positiveNumber, 1e-5),
});
const shapeChoices = v.object({
  hidden_act: v.nullish(v.picklist(['quick_gelu', 'gelu']), 'quick_gelu'),
  num_channels: v.nullish(v.literal(3), 3),
});
const switches = v.object({ do_center_crop: isOn, do_normalize: isOn, do_rescale: isOn });
const filter = v.object({ resample: v.nullish(v.literal(3, '3 (bicubic)'), 3) });
const normalization = v.object({
  image_mean: v.nullish(perChannel, [0.48145466, 0.4578275, 0.40821073]),
  image_std: v.nullish(perChannel, [0.26862954, 0.26130258, 0.27577711]),
});
const unchanged = { image_mean: [0, 0, 0], image_std: [1, 1, 1] } as const;
const rescaling = v.object({ rescale_factor: v.nullish(positiveNumber, 1 / 255) });

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
    preprocessor: join(folder, 'preprocessor_config.json'),
    weights: path,
  };
}

/**
 * Reads a CLIP folder's config.json, and preprocessor_config.json where there is one (else CLIP's own pixels).
 *
 * @throws LongVLMError `ERR_LONGVLM_FILE` when config.json is missing; `ERR_LONGVLM_UNSUPPORTED` for anything but a CLIP
 * vision tower; `ERR_LONGVLM_WEIGHTS` for damaged or contradicting values.
 */
export async function readVisionConfig(files: VisionFiles): Promise<ClipConfig> {
  const shape = readShape(await readJson(files.config));
  const preprocessor = await readJson(files.preprocessor).catch((error: LongVLMError) => {
    if (isMissing(error)) return { file: files.preprocessor, name: '', value: {} };
    throw error;
  });
  return { ...shape, ...readPixels(preprocessor, shape.imageSize) };
}

function readShape(root: Part): ClipShape {
  const { model_type } = read(modelType, root, noClip);
  read(modelTypes[model_type], root, noClip);
  const nested = part(root, 'vision_config');
  const tower = v.is(jsonObject, nested.value) ? nested : root;
  const fields = read(shapeFields, tower);
  const { hidden_act: activation } = read(shapeChoices, tower, unsupported);
  const { hidden_size: channels, num_attention_heads: heads, image_size: imageSize, patch_size: patchSize } = fields;
  const named = (key: keyof typeof fields) => `${part(tower, key).name} ${fields[key]}`;
  if (channels % heads !== 0)
    throw damaged(tower.file, `${named('hidden_size')} is no multiple of ${named('num_attention_heads')}`);
  if (patchSize > imageSize) throw damaged(tower.file, `${named('patch_size')} is above ${named('image_size')}`);
  return {
    channels,
    intermediateSize: fields.intermediate_size,
    layers: fields.num_hidden_layers,
    heads,
    imageSize,
    patchSize,
    patches: Math.floor(imageSize / patchSize) ** 2,
    patchLayer: fields.num_hidden_layers - 1,
    activation,
    layerNormEpsilon: fields.layer_norm_eps,
  };
}

function readPixels(root: Part, imageSize: number): Omit<PixelRules, 'imageSize'> {
  const { do_center_crop, do_normalize, do_rescale } = read(switches, root);
  const resized = readEdges(part(root, 'size'), imageSize);
  const cropped = do_center_crop ? readEdges(part(root, 'crop_size'), imageSize) : undefined;
  // A shortest edge alone, without a crop, leaves frames that are not square.
  const side = cropped?.pixels ?? (resized.isSquare ? resized.pixels : imageSize);
  if (side !== imageSize)
    throw damaged(root.file, `it makes pictures of ${side} pixels, where the tower of config.json takes ${imageSize}`);
  read(filter, root, unsupported);
  // What is switched off is not read.
  const { image_mean: mean, image_std: std } = do_normalize ? read(normalization, root) : unchanged;
  const { rescale_factor: rescale } = do_rescale ? read(rescaling, root) : { rescale_factor: 1 };
  return {
    mean,
    std,
    rescale,
    resize: resized.isSquare ? 'squash' : 'crop',
    shortestEdge: resized.pixels,
  };
}

// 224, { shortest_edge: 224 } or { height: 224, width: 224 }; an integer is the shortest edge.
function readEdges(edges: Part, imageSize: number): { pixels: number; isSquare: boolean } {
  const edge = size(imageSize);
  if (!v.is(jsonObject, edges.value)) return { pixels: read(edge, edges), isSquare: false };
  if ('shortest_edge' in edges.value)
    return { pixels: read(v.object({ shortest_edge: edge }), edges).shortest_edge, isSquare: false };
  const { height, width } = read(v.object({ height: edge, width: edge }), edges);
  if (height !== width) throw damaged(edges.file, `${edges.name} ${width}x${height} is not square`);
  return { pixels: height, isSquare: true };
}

/** What a JSON file holds under a name such as `size` or `vision_config.hidden_size`; all of it under ''. */
type Part = { readonly file: string; readonly name: string; readonly value: unknown };

function part({ file, name, value }: Part, key: string): Part {
  return { file, name: name === '' ? key : `${name}.${key}`, value: (value as Record<string, unknown>)[key] };
}

/** What `schema` makes of a part. @throws LongVLMError made by `refusal` where it does not fit */
function read<const Schema extends v.GenericSchema>(
  schema: Schema,
  { file, name, value }: Part,
  refusal = damaged,
): v.InferOutput<Schema> {
  try {
    return parse(schema, value, name, name === '' ? '' : `${name}.`);
  } catch (error) {
    throw refusal(file, messageOf(error));
  }
}

function damaged(file: string, cause: string): LongVLMError {
  return weightsError(file, cause, 'Correct the file or download it again.');
}

function unsupported(file: string, cause: string, remedy = 'Other values are not supported: use another tower.') {
  return new LongVLMError('ERR_LONGVLM_UNSUPPORTED', `${file}: ${cause}. ${remedy}`);
}

function noClip(file: string, cause: string) {
  return unsupported(
    file,
    cause,
    'Give a CLIP vision tower (model_type clip_vision_model, or clip), or a LLaVA that has one.',
  );
}

function isMissing(error: LongVLMError): boolean {
  return (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
}

async function readJson(file: string): Promise<Part> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => Promise.reject(fileError(file, error)));
  try {
    return { file, name: '', value: parse(jsonObject, JSON.parse(text), 'it') };
  } catch (error) {
    throw damaged(file, `it holds no JSON object (${messageOf(error)})`);
  }
}
