// Finds a Qwen2.5-VL tower's tensors, by Hugging Face's names and by llama.cpp's, and checks all of them.
import { LongVLMError } from '../../base/errors.js';
import { requireTensor } from '../../files/requireTensor.js';
import { tensorNames, type WeightFile } from '../../files/tensorFile.js';
import { checkAllUsed, checkDepth, namesUnder, prefixesOf, type TensorFinder, tensorFinder } from '../tensorFinder.js';
import { type Affine, type LayerWeights, splitAttention } from '../transformer/weights.js';
import type { Qwen25Shape } from './shape.js';
import type { Qwen25Weights } from './towerGraph.js';

const firstName = 'patch_embed.proj.weight';
const ownNames = [firstName, 'merger.ln_q.weight', 'blocks.0.mlp.gate_proj.weight'] as const;

/** Of all names in a file those of the tower. */
export function qwen25Names(names: readonly string[]): string[] {
  return namesUnder(names, prefixesOf(names, ownNames));
}

/**
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when a tensor is missing or has a wrong shape or type; `ERR_LONGVLM_UNSUPPORTED` for
 *   a tower with other tensors
 */
export function findQwen25Tower(file: WeightFile, shape: Qwen25Shape): Qwen25Weights {
  const names = tensorNames(file);
  const [prefix] = prefixesOf(names, ownNames);
  if (prefix === undefined)
    throw new LongVLMError(
      'ERR_LONGVLM_WEIGHTS',
      `${file.path}: tensors ${ownNames.join(', ')} are missing, so it holds no vision tower of Qwen2.5-VL. Give all of the model's weights.`,
    );
  const { channels, patchSize, framesPerStep, layers: depth, mergeSize, width } = shape;
  const finder = tensorFinder(file, prefix);
  const { tensor, affine, used } = finder;
  checkDepth(file.path, names, `${prefix}blocks.`, depth);
  const square = channels * mergeSize ** 2;
  const weights = {
    patchEmbedding: [tensor(firstName, [channels, 3, framesPerStep, patchSize, patchSize])],
    layers: Array.from({ length: depth }, (_, index) => layer(finder, shape, index)),
    merger: {
      norm: { weight: tensor('merger.ln_q.weight', [channels]) },
      first: affine('merger.mlp.0', [square, square]),
      second: affine('merger.mlp.2', [width, square]),
    },
  };
  const own = names.filter((name) => name.startsWith(prefix));
  checkAllUsed(file.path, 'Qwen2.5-VL', own, used, () => false);
  return weights;
}

function layer({ affine, tensor }: TensorFinder, shape: Qwen25Shape, index: number): LayerWeights {
  const { channels, intermediateSize } = shape;
  const name = `blocks.${index}`;
  const norm = (which: string): Affine => ({ weight: tensor(`${name}.${which}.weight`, [channels]) });
  return {
    norm1: norm('norm1'),
    ...splitAttention(affine(`${name}.attn.qkv`, [3 * channels, channels])),
    out: affine(`${name}.attn.proj`, [channels, channels]),
    norm2: norm('norm2'),
    up: affine(`${name}.mlp.up_proj`, [intermediateSize, channels]),
    gate: affine(`${name}.mlp.gate_proj`, [intermediateSize, channels]),
    down: affine(`${name}.mlp.down_proj`, [channels, intermediateSize]),
  };
}

/**
 * @param original the file itself, where `file` is a copy without quantisation
 * @throws as {@link findQwen25Tower}
 */
export function findQwen25Mmproj(file: WeightFile, shape: Qwen25Shape, original: WeightFile): Qwen25Weights {
  const { channels, patchSize, mergeSize, width } = shape;
  const finder = tensorFinder(file);
  const { tensor, affine, used } = finder;
  const kernel = [channels, 3, patchSize, patchSize];
  const square = channels * mergeSize ** 2;
  const kernels = ['v.patch_embd.weight', 'v.patch_embd.weight.1'];
  const weights = {
    patchEmbedding: kernels.map((name) => tensor(name, kernel)),
    layers: Array.from({ length: shape.layers }, (_, index) => mmprojLayer(finder, file, shape, index)),
    merger: {
      norm: { weight: tensor('v.post_ln.weight', [channels]) },
      first: affine('mm.0', [square, square]),
      second: affine('mm.2', [width, square]),
    },
  };
  const own = tensorNames(original).filter((name) => /^(v|mm)\./.test(name));
  checkAllUsed(original.path, 'Qwen2.5-VL', own, used, () => false);
  return weights;
}

function mmprojLayer(
  { affine, tensor, used }: TensorFinder,
  file: WeightFile,
  { channels, intermediateSize }: Qwen25Shape,
  index: number,
): LayerWeights {
  const name = `v.blk.${index}`;
  const norm = (which: string): Affine => ({ weight: tensor(`${name}.${which}.weight`, [channels]) });
  // In older files the weights of the two have each other's name, or their biases.
  const named = (kind: 'weight' | 'bias', rows: number) => {
    const right = file.tensors.get(`${name}.ffn_down.${kind}`)?.shape[0] === rows;
    return right ? ['ffn_up', 'ffn_down'] : ['ffn_down', 'ffn_up'];
  };
  const part = (place: 0 | 1, dims: readonly [number, number]): Affine => {
    const [weight, bias] = [
      `${name}.${named('weight', channels)[place]}.weight`,
      `${name}.${named('bias', channels)[place]}.bias`,
    ];
    used.add(weight).add(bias);
    return { weight: requireTensor(file, weight, dims), bias: requireTensor(file, bias, [dims[0]]) };
  };
  return {
    norm1: norm('ln1'),
    query: affine(`${name}.attn_q`, [channels, channels]),
    key: affine(`${name}.attn_k`, [channels, channels]),
    value: affine(`${name}.attn_v`, [channels, channels]),
    out: affine(`${name}.attn_out`, [channels, channels]),
    norm2: norm('ln2'),
    up: part(0, [intermediateSize, channels]),
    gate: affine(`${name}.ffn_gate`, [intermediateSize, channels]),
    down: part(1, [channels, intermediateSize]),
  };
}
