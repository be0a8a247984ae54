// The CLIP tower of an mmproj file: its sizes, its pixels, and its tensors by llama.cpp's names.
import * as v from 'valibot';
import type { GgufFile } from '../../files/gguf.js';
import { MmprojFields } from '../../files/mmprojFields.js';
import { tensorNames, type WeightFile } from '../../files/tensorFile.js';
import { perChannel } from '../fields.js';
import { countMmprojLayers, mmprojLayer, readFeatureLayers, readMmprojActivation, readMmprojShape } from '../mmproj.js';
import { checkAllUsed, tensorFinder } from '../tensorFinder.js';
import { type ClipConfig, wholeFrames } from './huggingFaceConfig.js';
import type { ClipShape, ClipWeights } from './towerGraph.js';

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
  const shape = readMmprojShape(fields, 'CLIP', fixed);
  const layers = countMmprojLayers(file);
  if (layers === 0) throw fields.error('tensor v.blk.0.ln1.weight is missing');
  const aspect = fields.read('clip.vision.image_aspect_ratio', text);
  const { patchLayers, note } = readFeatureLayers(fields, layers, depths[shape.channels]);
  const notes = [note, aspect?.startsWith('anyres') ? wholeFrames : undefined].filter((part) => part !== undefined);
  return {
    ...shape,
    layers,
    patchLayers,
    keepsClassToken: false,
    activation: readMmprojActivation(fields),
    mean: fields.read('clip.vision.image_mean', perChannel),
    std: fields.read('clip.vision.image_std', perChannel),
    rescale: 1 / 255,
    resize: aspect === 'pad' ? 'pad' : 'crop',
    shortestEdge: shape.imageSize,
    ...(notes.length > 0 && { note: notes.join('; ') }),
  };
}

/**
 * @param original the file itself, where `file` is a copy without quantisation
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when a tensor is missing or has a wrong shape or type; `ERR_LONGVLM_UNSUPPORTED` for
 * a tower with other tensors. The messages name them.
 */
export function findMmprojTower(file: WeightFile, shape: ClipShape, original: WeightFile): ClipWeights {
  const { channels, patchSize, patches } = shape;
  const finder = tensorFinder(file);
  const { tensor, affine, used } = finder;
  const weights = {
    classEmbedding: tensor('v.class_embd', [channels]),
    patchEmbedding: {
      weight: tensor('v.patch_embd.weight', [channels, 3, patchSize, patchSize]),
      channelsLast: false,
    },
    positionEmbedding: tensor('v.position_embd.weight', [patches + 1, channels]),
    preNorm: affine('v.pre_ln', [channels]),
    layers: Array.from({ length: shape.layers }, (_, index) => mmprojLayer(file, finder, shape, index, true)),
  };
  const own = tensorNames(original).filter((name) => name.startsWith('v.'));
  checkAllUsed(original.path, 'CLIP', own, used, (name) => harmless.has(name));
  return weights;
}

// Those of tiles, which video frames are not cut into, and indices from 0.
const harmless: ReadonlySet<string> = new Set(['v.image_newline', 'v.view_seperator', 'v.position_ids']);
