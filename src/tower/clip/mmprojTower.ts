// The CLIP tower of an mmproj file: its sizes, its pixels, and its tensors by llama.cpp's names.
import type { GgufFile } from '../../files/gguf.js';
import { MmprojFields } from '../../files/mmprojFields.js';
import type { WeightFile } from '../../files/tensorFile.js';
import type { ClipConfig } from './huggingFaceConfig.js';
import { tensorFinder } from './huggingFaceTower.js';
import type { ClipShape, ClipWeights, LayerWeights } from './towerGraph.js';

/**
 * What an mmproj file says of its vision tower.
 *
 * Files leave out the layers above the one whose patches the projector was trained on: where none is named, that is the
 * last one in the file.
 *
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for another kind of tower or projector; `ERR_LONGVLM_WEIGHTS` for values
 * that are missing or contradict each other.
 */
export function readMmprojConfig(file: GgufFile): ClipConfig {
  const fields = new MmprojFields(file);
  fields.requireLlavaProjector();
  if (!file.tensors.has('v.class_embd') || !file.tensors.has('v.pre_ln.weight'))
    throw fields.unsupported('its vision tower is not one of CLIP', 'Use a model whose vision tower is CLIP.');
  if (fields.flag('clip.use_silu'))
    throw fields.unsupported("its vision tower's activation is SiLU", 'Use a tower with GELU or QuickGELU.');
  const imageSize = fields.size('clip.vision.image_size');
  const patchSize = fields.size('clip.vision.patch_size');
  const channels = fields.size('clip.vision.embedding_length');
  const heads = fields.size('clip.vision.attention.head_count');
  if (channels % heads !== 0)
    throw fields.error(`embedding_length ${channels} is no multiple of attention.head_count ${heads}`);
  if (patchSize > imageSize) throw fields.error(`patch_size ${patchSize} is above image_size ${imageSize}`);
  const layers = countLayers(file);
  return {
    channels,
    intermediateSize: fields.size('clip.vision.feed_forward_length'),
    layers,
    heads,
    imageSize,
    patchSize,
    patches: Math.floor(imageSize / patchSize) ** 2,
    patchLayer: patchLayer(fields, layers),
    activation: fields.flag('clip.use_gelu') ? 'gelu' : 'quick_gelu',
    layerNormEpsilon: fields.number('clip.vision.attention.layer_norm_epsilon'),
    mean: fields.triple('clip.vision.image_mean'),
    std: fields.triple('clip.vision.image_std'),
    rescale: 1 / 255,
    resize: 'crop',
    shortestEdge: imageSize,
  };
}

// `block_count` is of little use: files exist where it counts a layer that was left out.
function countLayers(file: GgufFile): number {
  let layers = 0;
  while (file.tensors.has(`v.blk.${layers}.ln1.weight`)) layers++;
  return layers;
}

function patchLayer(fields: MmprojFields, layers: number): number {
  const named = fields.integers('clip.vision.feature_layer') ?? [];
  if (named.length > 1)
    throw fields.unsupported(
      `its projector takes the patches of ${named.length} layers together (clip.vision.feature_layer)`,
      'Use a model that takes those of one layer.',
    );
  const layer = named[0] ?? layers;
  if (layer >= 0 && layer <= layers) return layer;
  throw fields.error(`there are ${layers} layers in it where clip.vision.feature_layer asks for layer ${layer}`);
}

/** @throws LongVLMError `ERR_LONGVLM_WEIGHTS` that names the tensor which is missing, or of a wrong shape or type. */
export function findMmprojTower(file: WeightFile, shape: ClipShape): ClipWeights {
  const { channels, intermediateSize, patchSize, patches } = shape;
  const { tensor, affine } = tensorFinder(file);
  const layer = (index: number): LayerWeights => {
    const name = `v.blk.${index}`;
    // Older files have the two the other way round.
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
