// The CLIP tower of an mmproj file: its sizes, its pixels, and its tensors by llama.cpp's names.
import * as v from 'valibot';
import { integer, positiveNumber } from '../../base/schema.js';
import type { GgufFile } from '../../files/gguf.js';
import { MmprojFields } from '../../files/mmprojFields.js';
import type { WeightFile } from '../../files/tensorFile.js';
import { type ClipConfig, perChannel } from './huggingFaceConfig.js';
import { tensorFinder } from './huggingFaceTower.js';
import type { ClipShape, ClipWeights, LayerWeights } from './towerGraph.js';

const isOn = v.optional(v.boolean(), false);
const layer = v.pipe(v.number('integer'), v.safeInteger('integer'));
const oneOrMoreLayers = v.optional(
  v.lazy((value) => (Array.isArray(value) ? v.array(layer) : layer)),
  [],
);

/**
 * Reads the configuration of the vision tower in an mmproj file.
 *
 * Files omit the layers above the one whose patches the projector was trained on. If the file does not name that layer, it is
 * the last layer in the file.
 *
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for another kind of tower or projector; `ERR_LONGVLM_WEIGHTS` for values
 * that are missing or contradict each other.
 */
export function readMmprojConfig(file: GgufFile): ClipConfig {
  const fields = new MmprojFields(file);
  fields.requireLlavaProjector();
  if (!file.tensors.has('v.class_embd') || !file.tensors.has('v.pre_ln.weight'))
    throw fields.unsupported('its vision tower is not one of CLIP', 'Use a model whose vision tower is CLIP.');
  if (fields.read('clip.use_silu', isOn))
    throw fields.unsupported("its vision tower's activation is SiLU", 'Use a tower with GELU or QuickGELU.');
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
  const layers = countLayers(file);
  return {
    channels,
    intermediateSize: fields.read('clip.vision.feed_forward_length', integer(1)),
    layers,
    heads,
    imageSize,
    patchSize,
    patches: Math.floor(imageSize / patchSize) ** 2,
    patchLayer: patchLayer(fields, layers),
    activation: fields.read('clip.use_gelu', isOn) ? 'gelu' : 'quick_gelu',
    layerNormEpsilon: fields.read('clip.vision.attention.layer_norm_epsilon', positiveNumber),
    mean: fields.read('clip.vision.image_mean', perChannel),
    std: fields.read('clip.vision.image_std', perChannel),
    rescale: 1 / 255,
    resize: 'crop',
    shortestEdge: imageSize,
  };
}

// Counts tensors, because `block_count` is unreliable: in some files it includes an omitted layer.
function countLayers(file: GgufFile): number {
  let layers = 0;
  while (file.tensors.has(`v.blk.${layers}.ln1.weight`)) layers++;
  return layers;
}

function patchLayer(fields: MmprojFields, layers: number): number {
  const named = [fields.read('clip.vision.feature_layer', oneOrMoreLayers)].flat();
  if (named.length > 1)
    throw fields.unsupported(
      `its projector takes the patches of ${named.length} layers together (clip.vision.feature_layer)`,
      'Use a model that takes those of one layer.',
    );
  const layer = named[0] ?? layers;
  if (layer >= 0 && layer <= layers) return layer;
  throw fields.error(`there are ${layers} layers in it where clip.vision.feature_layer asks for layer ${layer}`);
}

/** @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when a tensor is missing or has a wrong shape or type; the message names it. */
export function findMmprojTower(file: WeightFile, shape: ClipShape): ClipWeights {
  const { channels, intermediateSize, patchSize, patches } = shape;
  const { tensor, affine } = tensorFinder(file);
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
  return {
    classEmbedding: tensor('v.class_embd', [channels]),
    patchEmbedding: tensor('v.patch_embd.weight', [channels, 3, patchSize, patchSize]),
    positionEmbedding: tensor('v.position_embd.weight', [patches + 1, channels]),
    preNorm: affine('v.pre_ln', [channels]),
    layers: Array.from({ length: shape.layers }, (_, index) => layer(index)),
  };
}
