// Finds a CLIP tower's tensors by Hugging Face's names, and checks all of them.
import { LongVLMError } from '../../base/errors.js';
import { requireTensor } from '../../files/requireTensor.js';
import { type TensorLocation, tensorNames, type WeightFile, weightsError } from '../../files/tensorFile.js';
import { checkAllUsed, classEmbedding, towerPrefixes } from './tensorNames.js';
import type { Affine, ClipShape, ClipWeights, LayerWeights } from './towerGraph.js';

/**
 * Finds the tower's tensors, with any prefix of their names (`vision_model.`, `model.vision_tower.…`). The file may also hold
 * other tensors.
 *
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when a tensor is missing or has a wrong shape or type; `ERR_LONGVLM_UNSUPPORTED`
 * for two towers, or one with other tensors; as {@link requireTensor}.
 */
export function findTowerWeights(file: WeightFile, shape: ClipShape): ClipWeights {
  const names = tensorNames(file);
  const [prefix, second] = towerPrefixes(names);
  if (prefix === undefined)
    throw new LongVLMError(
      'ERR_LONGVLM_WEIGHTS',
      `${file.path}: tensor ${classEmbedding} is missing, so it holds no CLIP vision tower. Give a CLIP model's weights.`,
    );
  if (second !== undefined)
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `${file.path}: ${prefix}${classEmbedding} and ${second}${classEmbedding} are of two vision towers. Give a file with one.`,
    );
  const { channels, intermediateSize, patchSize, patches } = shape;
  const { tensor, affine, used } = tensorFinder(file, prefix);
  const layer = (index: number): LayerWeights => {
    const name = `encoder.layers.${index}`;
    return {
      norm1: affine(`${name}.layer_norm1`, [channels]),
      query: affine(`${name}.self_attn.q_proj`, [channels, channels]),
      key: affine(`${name}.self_attn.k_proj`, [channels, channels]),
      value: affine(`${name}.self_attn.v_proj`, [channels, channels]),
      out: affine(`${name}.self_attn.out_proj`, [channels, channels]),
      norm2: affine(`${name}.layer_norm2`, [channels]),
      up: affine(`${name}.mlp.fc1`, [intermediateSize, channels]),
      down: affine(`${name}.mlp.fc2`, [channels, intermediateSize]),
    };
  };
  checkDepth(file.path, names, `${prefix}encoder.layers.`, shape.layers);
  const kernels = 'embeddings.patch_embedding.weight';
  // As MLX stores them.
  const last = [channels, patchSize, patchSize, 3];
  const channelsLast = patchSize !== 3 && file.tensors.get(prefix + kernels)?.shape.join() === last.join();
  const weights = {
    classEmbedding: tensor(classEmbedding, [channels]),
    patchEmbedding: tensor(kernels, channelsLast ? last : [channels, 3, patchSize, patchSize]),
    channelsLast,
    positionEmbedding: tensor('embeddings.position_embedding.weight', [patches + 1, channels]),
    // Misspelt like this in Hugging Face's files.
    preNorm: affine('pre_layrnorm', [channels]),
    layers: Array.from({ length: shape.layers }, (_, index) => layer(index)),
  };
  const own = names.filter((name) => name.startsWith(prefix) && (prefix !== '' || parts.test(name)));
  checkAllUsed(file.path, own, used, (name) => isHarmless(name.slice(prefix.length), shape.layers));
  return weights;
}

// Of a file that holds nothing but a tower, perhaps beside other models.
const parts = /^(embeddings|pre_layrnorm|encoder|post_layernorm)\./;

/** Whether no hidden state depends on a tensor: also those of layers above the last one that the configuration names. */
function isHarmless(name: string, layers: number): boolean {
  if (/^(embeddings\.position_ids|post_layernorm\.(weight|bias))$/.test(name)) return true;
  const [, index] = /^encoder\.layers\.(\d+)\./.exec(name) ?? [];
  return index !== undefined && Number(index) >= layers;
}

/** @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when a layer is missing, before anything is made of a number that may be any */
function checkDepth(path: string, names: readonly string[], start: string, layers: number): void {
  const own = names.filter((name) => name.startsWith(start));
  const there = new Set(own.map((name) => name.slice(start.length, name.indexOf('.', start.length))));
  let found = 0;
  while (found < layers && there.has(String(found))) found++;
  if (found === layers) return;
  throw weightsError(
    path,
    `it has no layer ${found}, where its configuration asks for ${layers} layers`,
    'Use weights and configuration of the same model.',
  );
}

/**
 * Finds tensors with a prefix, and pairs of weight and bias; a bias has one value for each row of its weight. `used` are the
 * names of those that were asked for.
 */
export function tensorFinder(file: WeightFile, prefix = '') {
  const used = new Set<string>();
  const tensor = (name: string, dims: readonly number[]) => {
    used.add(prefix + name);
    return requireTensor(file, prefix + name, dims);
  };
  const affine = (name: string, dims: readonly number[]): Affine => ({
    weight: tensor(`${name}.weight`, dims),
    bias: tensor(`${name}.bias`, dims.slice(0, 1)),
  });
  return { tensor, affine, used };
}

/** Every tensor of a tower, in the order of its graph. */
export function tensorsOf(weights: ClipWeights): TensorLocation[] {
  const { classEmbedding, patchEmbedding, positionEmbedding, preNorm, layers } = weights;
  const affines = [preNorm, ...layers.flatMap((layer) => Object.values(layer))];
  return [classEmbedding, patchEmbedding, positionEmbedding, ...affines.flatMap(({ weight, bias }) => [weight, bias])];
}

/** The matrices of the linear layers in all transformer layers. */
export function linearMatricesOf({ layers }: ClipWeights): TensorLocation[] {
  return layers.flatMap(({ query, key, value, out, up, down }) =>
    [query, key, value, out, up, down].map(({ weight }) => weight),
  );
}
