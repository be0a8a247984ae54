// Finds a CLIP tower's tensors by Hugging Face's names, and checks all of them.
import { LongVLMError } from '../../base/errors.js';
import { requireTensor } from '../../files/requireTensor.js';
import { type TensorLocation, tensorNames, type WeightFile } from '../../files/tensorFile.js';
import { classEmbedding, towerPrefix } from './tensorNames.js';
import type { Affine, ClipShape, ClipWeights, LayerWeights } from './towerGraph.js';

/**
 * Finds the tower's tensors, with any prefix of their names (`vision_model.`, `model.vision_tower.…`). The file may also hold
 * other tensors.
 *
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when a tensor is missing or has a wrong shape or type; as
 * {@link requireTensor}.
 */
export function findTowerWeights(file: WeightFile, shape: ClipShape): ClipWeights {
  const prefix = towerPrefix(tensorNames(file));
  if (prefix === undefined)
    throw new LongVLMError(
      'ERR_LONGVLM_WEIGHTS',
      `${file.path}: tensor ${classEmbedding} is missing, so it holds no CLIP vision tower. Give a CLIP model's weights.`,
    );
  const { channels, intermediateSize, patchSize, patches } = shape;
  const { tensor, affine } = tensorFinder(file, prefix);
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
  return {
    classEmbedding: tensor(classEmbedding, [channels]),
    patchEmbedding: tensor('embeddings.patch_embedding.weight', [channels, 3, patchSize, patchSize]),
    positionEmbedding: tensor('embeddings.position_embedding.weight', [patches + 1, channels]),
    // Misspelt like this in Hugging Face's files.
    preNorm: affine('pre_layrnorm', [channels]),
    layers: Array.from({ length: shape.layers }, (_, index) => layer(index)),
  };
}

/** Finds tensors with a prefix, and pairs of weight and bias; a bias has one value for each row of its weight. */
export function tensorFinder(file: WeightFile, prefix = '') {
  const tensor = (name: string, dims: readonly number[]) => requireTensor(file, prefix + name, dims);
  const affine = (name: string, dims: readonly number[]): Affine => ({
    weight: tensor(`${name}.weight`, dims),
    bias: tensor(`${name}.bias`, dims.slice(0, 1)),
  });
  return { tensor, affine };
}

/** Every tensor of a tower, in the order of its graph. */
export function tensorsOf({ layers, preNorm, ...embeddings }: ClipWeights): TensorLocation[] {
  const affines = [preNorm, ...layers.flatMap((layer) => Object.values(layer))];
  return [...Object.values(embeddings), ...affines.flatMap(({ weight, bias }) => [weight, bias])];
}

/** The matrices of the linear layers in all transformer layers. */
export function linearMatricesOf({ layers }: ClipWeights): TensorLocation[] {
  return layers.flatMap(({ query, key, value, out, up, down }) =>
    [query, key, value, out, up, down].map(({ weight }) => weight),
  );
}
