// The Qwen3-VL tower of an mmproj file: its sizes, its pixels, and its tensors by llama.cpp's names.
import * as v from 'valibot';
import type { GgufFile } from '../../files/gguf.js';
import { tensorNames, type WeightFile } from '../../files/tensorFile.js';
import { mmprojLayer } from '../mmproj.js';
import { checkAllUsed, tensorFinder } from '../tensorFinder.js';
import { type QwenPixels, releasedPixels } from './huggingFaceConfig.js';
import { hasProjector, readStepMmproj } from './mmprojConfig.js';
import type { QwenShape } from './shape.js';
import type { MergerWeights, QwenWeights } from './towerGraph.js';

// With other values than these the tower would be computed in another way.
const fixed = {
  'clip.vision.projector.scale_factor': 1,
  'clip.vision.n_wa_pattern': 0,
  'clip.vision.window_size': 0,
} as const;

/** Whether an mmproj file has a vision tower of Qwen3-VL. */
export function isQwenMmproj(file: GgufFile): boolean {
  return hasProjector(file, 'qwen3vl_merger');
}

/** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED`, `ERR_LONGVLM_WEIGHTS` */
export function readQwenMmproj(file: GgufFile): { shape: QwenShape; pixels: QwenPixels } {
  const { fields, shape, imageSize, pixels } = readStepMmproj(file, 'Qwen3-VL', fixed);
  const { layers, patchSize } = shape;
  const flags = fields.read('clip.vision.is_deepstack_layers', v.optional(v.array(v.boolean()), []));
  const deepstack = flags.flatMap((isOne, index) => (isOne ? [index] : []));
  if (deepstack.some((index) => index >= layers))
    throw fields.error(
      `there are ${layers} layers in it where clip.vision.is_deepstack_layers names layer ${deepstack.at(-1)}`,
    );
  return {
    shape: {
      ...shape,
      positions: Math.floor(imageSize / patchSize),
      deepstack,
      // llama.cpp's word for it is GELU, by which it means this one.
      activation: 'gelu_pytorch_tanh',
    },
    pixels: { ...releasedPixels, ...pixels },
  };
}

/**
 * @param original the file itself, where `file` is a copy without quantisation
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when a tensor is missing or has a wrong shape or type; `ERR_LONGVLM_UNSUPPORTED` for
 *   a tower with other tensors
 */
export function findQwenMmproj(file: WeightFile, shape: QwenShape, original: WeightFile): QwenWeights {
  const { channels, patchSize, positions, mergeSize, width, deepstack } = shape;
  const finder = tensorFinder(file);
  const { tensor, affine, used } = finder;
  const kernel = [channels, 3, patchSize, patchSize];
  const square = channels * mergeSize ** 2;
  const stacked = (layer: number): MergerWeights => ({
    norm: affine(`v.deepstack.${layer}.norm`, [square]),
    first: affine(`v.deepstack.${layer}.fc1`, [square, square]),
    second: affine(`v.deepstack.${layer}.fc2`, [width, square]),
  });
  const kernels = ['v.patch_embd.weight', 'v.patch_embd.weight.1'];
  const weights = {
    patchEmbedding: kernels.map((name) => tensor(name, kernel)),
    patchBias: tensor('v.patch_embd.bias', [channels]),
    positionEmbedding: tensor('v.position_embd.weight', [positions ** 2, channels]),
    layers: Array.from({ length: shape.layers }, (_, index) => mmprojLayer(file, finder, shape, index)),
    merger: {
      norm: affine('v.post_ln', [channels]),
      first: affine('mm.0', [square, square]),
      second: affine('mm.2', [width, square]),
    },
    deepstack: deepstack.map(stacked),
  };
  const own = tensorNames(original).filter((name) => /^(v|mm)\./.test(name));
  checkAllUsed(original.path, 'Qwen3-VL', own, used, () => false);
  return weights;
}
