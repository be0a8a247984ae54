// The CLIP tower of an mmproj file: its sizes, its pixels, and its tensors by llama.cpp's names.
import * as v from 'valibot';
import { integer } from '../../base/schema.js';
import type { Activation } from '../../compute/activations.js';
import type { GgufFile } from '../../files/gguf.js';
import { MmprojFields } from '../../files/mmprojFields.js';
import { tensorNames, type WeightFile } from '../../files/tensorFile.js';
import { type ClipConfig, epsilon, wholeFrames } from './huggingFaceConfig.js';
import { perChannel } from './huggingFacePixels.js';
import { tensorFinder } from './huggingFaceTower.js';
import { checkAllUsed } from './tensorNames.js';
import type { ClipShape, ClipWeights, LayerWeights } from './towerGraph.js';

const isOn = v.optional(v.boolean(), false);
const layer = v.pipe(v.number('integer'), v.safeInteger('integer'));
const mostLayers = 1000;
const oneOrMoreLayers = v.optional(
  v.lazy((value) => (Array.isArray(value) && value.length <= mostLayers ? v.array(layer) : layer)),
  [],
);
const text = v.optional(v.string());

// With other values than these the tower would be computed in another way.
const fixed = {
  'clip.vision.spatial_merge_size': 1,
  'clip.vision.projector.scale_factor': 1,
  'clip.vision.n_wa_pattern': 0,
  'clip.vision.window_size': 0,
  'clip.vision.expert_used_count': 0,
} as const;

// Layers of whole towers by their channels: OpenAI's CLIP B and L, OpenCLIP's H, g and bigG.
const depths: Readonly<Record<number, number>> = { 768: 12, 1024: 24, 1280: 32, 1408: 40, 1664: 48 };

/**
 * Reads the configuration of the vision tower in an mmproj file.
 *
 * Files omit the layers above the one whose patches the projector was trained on. If the file does not name that layer, it is
 * the last layer in the file, or the last but one where the file has all layers of a known tower.
 *
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for another kind of tower or projector; `ERR_LONGVLM_WEIGHTS` for values
 * that are missing or contradict each other.
 */
export function readMmprojConfig(file: GgufFile): ClipConfig {
  const fields = new MmprojFields(file);
  fields.requireLlavaProjector();
  if (!file.tensors.has('v.class_embd') || !file.tensors.has('v.pre_ln.weight'))
    throw fields.unsupported('its vision tower is not one of CLIP', 'Use a model whose vision tower is CLIP.');
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
  checkFixed(fields, {
    ...fixed,
    'clip.vision.attention.head_count_kv': heads,
    'clip.vision.attention.head_dim': channels / heads,
  });
  const layers = countLayers(file);
  if (layers === 0) throw fields.error('tensor v.blk.0.ln1.weight is missing');
  const aspect = fields.read('clip.vision.image_aspect_ratio', text);
  const { patchLayers, note } = readPatchLayers(fields, layers, depths[channels]);
  const notes = [note, aspect?.startsWith('anyres') ? wholeFrames : undefined].filter((part) => part !== undefined);
  return {
    channels,
    intermediateSize: fields.read('clip.vision.feed_forward_length', integer(1)),
    layers,
    heads,
    imageSize,
    patchSize,
    patches: Math.floor(imageSize / patchSize) ** 2,
    patchLayers,
    keepsClassToken: false,
    activation: readActivation(fields),
    layerNormEpsilon: fields.read('clip.vision.attention.layer_norm_epsilon', epsilon),
    mean: fields.read('clip.vision.image_mean', perChannel),
    std: fields.read('clip.vision.image_std', perChannel),
    rescale: 1 / 255,
    resize: aspect === 'pad' ? 'pad' : 'crop',
    shortestEdge: imageSize,
    ...(notes.length > 0 && { note: notes.join('; ') }),
  };
}

function readActivation(fields: MmprojFields): Activation {
  const [gelu, silu] = [fields.read('clip.use_gelu', isOn), fields.read('clip.use_silu', isOn)];
  if (gelu && silu) throw fields.error('clip.use_gelu and clip.use_silu are both true');
  if (silu) return 'silu';
  return gelu ? 'gelu' : 'quick_gelu';
}

function checkFixed(fields: MmprojFields, values: Readonly<Record<string, number>>): void {
  for (const [key, value] of Object.entries(values)) {
    const given = fields.read(key, v.optional(v.number(), value));
    if (given !== value)
      throw fields.unsupported(
        `${key} ${given} is not supported, only ${value}`,
        'Use a model whose vision tower is CLIP.',
      );
  }
}

// Counts tensors, because `block_count` is unreliable: in some files it includes an omitted layer.
function countLayers(file: GgufFile): number {
  let layers = 0;
  while (file.tensors.has(`v.blk.${layers}.ln1.weight`)) layers++;
  return layers;
}

function readPatchLayers(fields: MmprojFields, layers: number, depth: number | undefined) {
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
 * @param original the file itself, where `file` is a copy without quantisation
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when a tensor is missing or has a wrong shape or type; `ERR_LONGVLM_UNSUPPORTED` for
 * a tower with other tensors. The messages name them.
 */
export function findMmprojTower(file: WeightFile, shape: ClipShape, original: WeightFile): ClipWeights {
  const { channels, intermediateSize, patchSize, patches } = shape;
  const { tensor, affine, used } = tensorFinder(file);
  const layer = (index: number): LayerWeights => {
    const name = `v.blk.${index}`;
    // In older files the two names are swapped.
    const swapped = file.tensors.get(`${name}.ffn_down.weight`)?.shape[1] === channels;
    const [up, down] = swapped ? ['ffn_down', 'ffn_up'] : ['ffn_up', 'ffn_down'];
    return {
      norm1: affine(`${name}.ln1`, [channels]),
      query: affine(`${name}.attn_q`, [channels, channels]),
      key: affine(`${name}.attn_k`, [channels, channels]),
      value: affine(`${name}.attn_v`, [channels, channels]),
      out: affine(`${name}.attn_out`, [channels, channels]),
      norm2: affine(`${name}.ln2`, [channels]),
      up: affine(`${name}.${up}`, [intermediateSize, channels]),
      down: affine(`${name}.${down}`, [channels, intermediateSize]),
    };
  };
  const weights = {
    channelsLast: false,
    classEmbedding: tensor('v.class_embd', [channels]),
    patchEmbedding: tensor('v.patch_embd.weight', [channels, 3, patchSize, patchSize]),
    positionEmbedding: tensor('v.position_embd.weight', [patches + 1, channels]),
    preNorm: affine('v.pre_ln', [channels]),
    layers: Array.from({ length: shape.layers }, (_, index) => layer(index)),
  };
  const own = tensorNames(original).filter((name) => name.startsWith('v.'));
  checkAllUsed(original.path, own, used, (name) => harmless.has(name));
  return weights;
}

// Those of tiles, which video frames are not cut into, and indices from 0.
const harmless: ReadonlySet<string> = new Set(['v.image_newline', 'v.view_seperator', 'v.position_ids']);
