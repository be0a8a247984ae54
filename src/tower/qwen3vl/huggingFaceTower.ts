// Finds a Qwen3-VL tower's tensors by Hugging Face's names, and checks all of them.
import { LongVLMError } from '../../base/errors.js';
import { tensorNames, type WeightFile } from '../../files/tensorFile.js';
import { checkAllUsed, checkDepth, namesUnder, prefixesOf, type TensorFinder, tensorFinder } from '../tensorFinder.js';
import { type LayerWeights, splitAttention } from '../transformer/weights.js';
import type { QwenShape } from './shape.js';
import type { MergerWeights, QwenWeights } from './towerGraph.js';

const firstName = 'patch_embed.proj.weight';
const ownNames = [firstName, 'pos_embed.weight', 'merger.linear_fc1.weight'] as const;

/** Of all names in a file those of the tower. */
export function qwenNames(names: readonly string[]): string[] {
  return namesUnder(names, prefixesOf(names, ownNames));
}

/**
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when a tensor is missing or has a wrong shape or type; `ERR_LONGVLM_UNSUPPORTED` for
 *   a tower with other tensors
 */
export function findQwenTower(file: WeightFile, shape: QwenShape): QwenWeights {
  const names = tensorNames(file);
  const [prefix] = prefixesOf(names, ownNames);
  if (prefix === undefined)
    throw new LongVLMError(
      'ERR_LONGVLM_WEIGHTS',
      `${file.path}: tensors ${ownNames.join(', ')} are missing, so it holds no vision tower of Qwen3-VL. Give all of the model's weights.`,
    );
  const { channels, patchSize, framesPerStep, positions, deepstack } = shape;
  const finder = tensorFinder(file, prefix);
  const { tensor, used } = finder;
  checkDepth(file.path, names, `${prefix}blocks.`, shape.layers);
  const weights = {
    patchEmbedding: [tensor(firstName, [channels, 3, framesPerStep, patchSize, patchSize])],
    patchBias: tensor('patch_embed.proj.bias', [channels]),
    positionEmbedding: tensor('pos_embed.weight', [positions ** 2, channels]),
    layers: Array.from({ length: shape.layers }, (_, index) => layer(finder, shape, index)),
    merger: merger(finder, shape, 'merger', channels),
    deepstack: deepstack.map((_, index) =>
      merger(finder, shape, `deepstack_merger_list.${index}`, channels * shape.mergeSize ** 2),
    ),
  };
  const own = names.filter((name) => name.startsWith(prefix));
  checkAllUsed(file.path, 'Qwen3-VL', own, used, () => false);
  return weights;
}

function layer({ affine }: TensorFinder, { channels, intermediateSize }: QwenShape, index: number): LayerWeights {
  const name = `blocks.${index}`;
  return {
    norm1: affine(`${name}.norm1`, [channels]),
    ...splitAttention(affine(`${name}.attn.qkv`, [3 * channels, channels])),
    out: affine(`${name}.attn.proj`, [channels, channels]),
    norm2: affine(`${name}.norm2`, [channels]),
    up: affine(`${name}.mlp.linear_fc1`, [intermediateSize, channels]),
    down: affine(`${name}.mlp.linear_fc2`, [channels, intermediateSize]),
  };
}

function merger(
  { affine }: TensorFinder,
  { channels, mergeSize, width }: QwenShape,
  name: string,
  normalized: number,
): MergerWeights {
  const square = channels * mergeSize ** 2;
  return {
    norm: affine(`${name}.norm`, [normalized]),
    first: affine(`${name}.linear_fc1`, [square, square]),
    second: affine(`${name}.linear_fc2`, [width, square]),
  };
}
