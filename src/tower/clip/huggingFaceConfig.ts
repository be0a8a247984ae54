// What a Hugging Face CLIP folder says about its vision tower and its pixels.
import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LongVLMError } from '../../base/errors.js';
import { fileError } from '../../base/fileError.js';
import type { PixelRules } from '../source.js';
import type { ClipShape } from './towerGraph.js';

/** A CLIP tower as its files describe it. */
export type ClipConfig = ClipShape & Omit<PixelRules, 'imageSize'>;

/** Where a tower's parts lie. */
export type VisionFiles = { readonly config: string; readonly preprocessor: string; readonly weights: string };

const clipMean = [0.48145466, 0.4578275, 0.40821073];
const clipStd = [0.26862954, 0.26130258, 0.27577711];
const bicubic = 3;

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
  const shape = readShape(await readJson(files.config), files.config);
  const preprocessor = await readJson(files.preprocessor).catch((error: LongVLMError) => {
    if (isMissing(error)) return undefined;
    throw error;
  });
  return { ...shape, ...readPixels(new Fields(files.preprocessor, preprocessor ?? {}), shape.imageSize) };
}

function readShape(root: Json, path: string): ClipShape {
  const type = root.model_type;
  const nested = isJson(root.vision_config) ? root.vision_config : undefined;
  const isClip = type === 'clip' || (type === 'llava' && nested?.model_type === 'clip_vision_model');
  if (type !== 'clip_vision_model' && !(isClip && nested))
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `${path}: model_type ${JSON.stringify(type)} is not supported. Give a CLIP vision tower (model_type clip_vision_model, or clip), or a LLaVA that has one.`,
    );
  // What is absent has the value of Hugging Face's CLIPVisionConfig.
  const fields = new Fields(path, nested ?? root);
  const imageSize = fields.size('image_size', 224);
  const patchSize = fields.size('patch_size', 32);
  const layers = fields.size('num_hidden_layers', 12);
  const shape: ClipShape = {
    channels: fields.size('hidden_size', 768),
    intermediateSize: fields.size('intermediate_size', 3072),
    layers,
    heads: fields.size('num_attention_heads', 12),
    imageSize,
    patchSize,
    patches: Math.floor(imageSize / patchSize) ** 2,
    patchLayer: layers - 1,
    activation: fields.choice('hidden_act', 'quick_gelu', ['quick_gelu', 'gelu']),
    layerNormEpsilon: fields.number('layer_norm_eps', 1e-5),
  };
  fields.choice('num_channels', 3, [3]);
  if (shape.channels % shape.heads !== 0)
    throw fields.error(`hidden_size ${shape.channels} is no multiple of num_attention_heads ${shape.heads}`);
  if (shape.patchSize > shape.imageSize)
    throw fields.error(`patch_size ${shape.patchSize} is above image_size ${shape.imageSize}`);
  return shape;
}

function readPixels(fields: Fields, imageSize: number): Omit<PixelRules, 'imageSize'> {
  const normalize = fields.flag('do_normalize');
  const resized = edges(fields, 'size', imageSize);
  const cropped = fields.flag('do_center_crop') ? edges(fields, 'crop_size', imageSize) : resized;
  // A shortest edge alone, without a crop, leaves frames that are not square.
  const side = 'shortest' in cropped ? (fields.flag('do_center_crop') ? cropped.shortest : imageSize) : cropped.side;
  if (side !== imageSize)
    throw fields.error(`it makes pictures of ${side} pixels, where the tower of config.json takes ${imageSize}`);
  fields.choice('resample', bicubic, [bicubic]);
  return {
    mean: normalize ? fields.triple('image_mean', clipMean) : [0, 0, 0],
    std: normalize ? fields.triple('image_std', clipStd) : [1, 1, 1],
    rescale: fields.flag('do_rescale') ? fields.number('rescale_factor', 1 / 255) : 1,
    resize: 'shortest' in resized ? 'crop' : 'squash',
    shortestEdge: 'shortest' in resized ? resized.shortest : resized.side,
  };
}

// 224, { shortest_edge: 224 } or { height: 224, width: 224 }; an integer is the shortest edge of `size`.
function edges(fields: Fields, key: string, imageSize: number): { shortest: number } | { side: number } {
  const value = fields.value(key);
  if (!isJson(value)) return { shortest: fields.size(key, imageSize) };
  const inner = fields.inner(key, value);
  if (value.shortest_edge !== undefined) return { shortest: inner.size('shortest_edge', imageSize) };
  const height = inner.size('height', imageSize);
  const width = inner.size('width', imageSize);
  if (height !== width) throw fields.error(`${key} ${width}x${height} is not square`);
  return { side: height };
}

type Json = Record<string, unknown>;

function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isMissing(error: LongVLMError): boolean {
  return (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
}

async function readJson(path: string): Promise<Json> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => Promise.reject(fileError(path, error)));
  try {
    const value: unknown = JSON.parse(text);
    if (isJson(value)) return value;
  } catch {
    // Said below, for anything that is no JSON object.
  }
  throw new Fields(path, {}).error('it holds no JSON object');
}

/** Checked access to a JSON file's fields. */
class Fields {
  readonly #path: string;
  readonly #values: Json;
  readonly #prefix: string;

  constructor(path: string, values: Json, prefix = '') {
    this.#path = path;
    this.#values = values;
    this.#prefix = prefix;
  }

  inner(key: string, values: Json): Fields {
    return new Fields(this.#path, values, `${this.#prefix}${key}.`);
  }

  error(cause: string): LongVLMError {
    return new LongVLMError('ERR_LONGVLM_WEIGHTS', `${this.#path}: ${cause}. Correct the file or download it again.`);
  }

  value(key: string): unknown {
    return this.#values[key] ?? undefined;
  }

  size(key: string, fallback: number): number {
    const value = this.value(key) ?? fallback;
    if (typeof value === 'number' && Number.isSafeInteger(value) && value > 0) return value;
    throw this.#invalid(key, 'a positive integer', value);
  }

  number(key: string, fallback: number): number {
    const value = this.value(key) ?? fallback;
    if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
    throw this.#invalid(key, 'a positive number', value);
  }

  /** A `do_…` switch, on when absent. */
  flag(key: string): boolean {
    const value = this.value(key) ?? true;
    if (typeof value === 'boolean') return value;
    throw this.#invalid(key, 'true or false', value);
  }

  triple(key: string, fallback: readonly number[]): [number, number, number] {
    const value = this.value(key) ?? fallback;
    if (Array.isArray(value) && value.length === 3 && value.every((v) => typeof v === 'number' && Number.isFinite(v)))
      return value as [number, number, number];
    throw this.#invalid(key, 'three numbers', value);
  }

  choice<T extends string | number>(key: string, fallback: T, choices: readonly T[]): T {
    const value = this.value(key) ?? fallback;
    if (choices.includes(value as T)) return value as T;
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `${this.#path}: ${this.#prefix}${key} ${JSON.stringify(value)} is not supported. Use a tower with ${choices.join(' or ')}.`,
    );
  }

  #invalid(key: string, expected: string, value: unknown): LongVLMError {
    return this.error(`${this.#prefix}${key} is ${JSON.stringify(value)} where ${expected} is needed`);
  }
}
