// What vision towers in mmproj files have in common: their sizes, and the names of their layers' tensors.
import * as v from 'valibot';
import { integer } from '../base/schema.js';
import type { GgufFile } from '../files/gguf.js';
import type { MmprojFields } from '../files/mmprojFields.js';
import type { WeightFile } from '../files/tensorFile.js';
import { epsilon } from './fields.js';
import type { TensorFinder } from './tensorFinder.js';
import { type LayerWeights, splitAttention } from './transformer/weights.js';

const isOn = v.optional(v.boolean(), false);
const layer = v.pipe(v.number('integer'), v.safeInteger('integer'));
const mostLayers = 1000;
const oneOrMoreLayers = v.optional(
  v.lazy((value) => (Array.isArray(value) && value.length <= mostLayers ? v.array(layer) : layer)),
  [],
);

/** The sizes of a tower of square frames. */
export type MmprojShape = {
  readonly channels: number;
  readonly intermediateSize: number;
  readonly heads: number;
  readonly imageSize: number;
  readonly patchSize: number;
  readonly patches: number;
  readonly layerNormEpsilon: number;
};

/**
 * Reads the sizes of a tower.
 * @param kind of tower, such as `CLIP`, for messages
 * @param fixed keys with the only values that are supported: with others the tower would be computed in another way
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED`, `ERR_LONGVLM_WEIGHTS`
 */
export function readMmprojShape(
  fields: MmprojFields,
  kind: string,
  fixed: Readonly<Record<string, number>>,
): MmprojShape {
  const imageSize = fields.read('clip.vision.image_size', integer(1));
  const patchSize = fields.read('clip.vision.patch_size', integer(1));
  const channels = fields.read('clip.vision.embedding_length', integer(1));
  const heads = fields.read('clip.vision.attention.head_count', integer(1));
  if (channels % heads !== 0)
    throw fields.error(
      `clip.vision.embedding_length ${channels} is no multiple of clip.vision.attention.head_count ${heads}`,
    );
  if (patchSize > imageSize)
    throw fields.error(`clip.vision.patch_size ${patchSize} is above clip.vision.image_size ${imageSize}`);
  const all = {
    ...fixed,
    'clip.vision.attention.head_count_kv': heads,
    'clip.vision.attention.head_dim': channels / heads,
  };
  for (const [key, value] of Object.entries(all)) {
    const given = fields.read(key, v.optional(v.number(), value));
    if (given !== value)
      throw fields.unsupported(
        `${key} ${given} is not supported, only ${value}`,
        `Use a model whose vision tower is ${kind}.`,
      );
  }
  return {
    channels,
    intermediateSize: fields.read('clip.vision.feed_forward_length', integer(1)),
    heads,
    imageSize,
    patchSize,
    patches: Math.floor(imageSize / patchSize) ** 2,
    layerNormEpsilon: fields.read('clip.vision.attention.layer_norm_epsilon', epsilon),
  };
}

/** The activation by llama.cpp's words, which do not say what kind of GELU is meant. */
export function readMmprojActivation(fields: MmprojFields): 'gelu' | 'silu' | 'quick_gelu' {
  const [gelu, silu] = [fields.read('clip.use_gelu', isOn), fields.read('clip.use_silu', isOn)];
  if (gelu && silu) throw fields.error('clip.use_gelu and clip.use_silu are both true');
  if (silu) return 'silu';
  return gelu ? 'gelu' : 'quick_gelu';
}

/** Counts layers by their tensors, because `block_count` is unreliable: in some files it includes an omitted layer. */
export function countMmprojLayers(file: GgufFile): number {
  let layers = 0;
  while (file.tensors.has(`v.blk.${layers}.ln1.weight`)) layers++;
  return layers;
}

/**
 * The hidden states that a LLaVA's projector takes, and what people should know of them. Files omit the layers above the one
 * whose patches the projector was trained on. If the file does not name that layer, it is the last layer in the file, or the last
 * but one where the file has all layers of a known tower.
 * @param layers in the file
 * @param depth layers of the whole tower, where it is a known one
 */
export function readFeatureLayers(
  fields: MmprojFields,
  layers: number,
  depth: number | undefined,
): { readonly patchLayers: readonly number[]; readonly note: string | undefined } {
  const key = 'clip.vision.feature_layer';
  const named = [fields.read(key, oneOrMoreLayers)].flat();
  const outside = named.find((layer) => layer < 0 || layer > layers);
  if (outside !== undefined)
    throw fields.error(`there are ${layers} layers in it where ${key} asks for layer ${outside}`);
  // llama.cpp puts them next to each other from the lowest to the highest, Hugging Face in the order that is named.
  if (named.some((layer, index) => index > 0 && layer <= named[index - 1]!))
    throw fields.unsupported(
      `the layers of ${key}, ${named.join(', ')}, do not ascend`,
      'Use a model whose layers do.',
    );
  const ends = `the file ends with the layer that patches come from: global layers are counted from hidden state ${layers}`;
  const unnamed = 'it does not name that layer, and llama.cpp would take the one before';
  if (named.length > 0) return { patchLayers: named, note: named.join() === `${layers}` ? ends : undefined };
  if (layers === depth)
    return {
      patchLayers: [layers - 1],
      note: 'the file has all layers and names none for the patches: they come from the last but one',
    };
  return { patchLayers: [layers], note: `${ends}; ${unnamed}` };
}

/**
 * The weights of a layer. In older files the two layers of its MLP have each other's name, which their shapes tell.
 * @param swapsSquares whether they do where both are square, as in files of converters that never named them otherwise
 * @throws as {@link requireTensor}
 */
export function mmprojLayer(
  file: WeightFile,
  { affine }: TensorFinder,
  { channels, intermediateSize }: Pick<MmprojShape, 'channels' | 'intermediateSize'>,
  index: number,
  swapsSquares = false,
): LayerWeights {
  const name = `v.blk.${index}`;
  const swapped =
    channels === intermediateSize ? swapsSquares : file.tensors.get(`${name}.ffn_down.weight`)?.shape[1] === channels;
  const [up, down] = swapped ? ['ffn_down', 'ffn_up'] : ['ffn_up', 'ffn_down'];
  return {
    norm1: affine(`${name}.ln1`, [channels]),
    ...(file.tensors.has(`${name}.attn_qkv.weight`)
      ? splitAttention(affine(`${name}.attn_qkv`, [3 * channels, channels]))
      : {
          query: affine(`${name}.attn_q`, [channels, channels]),
          key: affine(`${name}.attn_k`, [channels, channels]),
          value: affine(`${name}.attn_v`, [channels, channels]),
        }),
    out: affine(`${name}.attn_out`, [channels, channels]),
    norm2: affine(`${name}.ln2`, [channels]),
    up: affine(`${name}.${up}`, [intermediateSize, channels]),
    down: affine(`${name}.${down}`, [channels, intermediateSize]),
  };
}
