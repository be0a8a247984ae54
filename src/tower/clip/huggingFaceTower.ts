// Finds a CLIP tower's tensors by Hugging Face's names, and checks all of them.
import { LongVLMError } from '../../base/errors.js';
import { type TensorLocation, tensorNames, type WeightFile } from '../../files/tensorFile.js';
import { huggingFaceLayer } from '../huggingFace/layer.js';
import { checkAllUsed, checkDepth, tensorFinder } from '../tensorFinder.js';
import { kernelDims } from '../transformer/patchEmbedding.js';
import { layerTensors, tensorsIn } from '../transformer/weights.js';
import { classEmbedding, towerPrefixes } from './tensorNames.js';
import type { ClipShape, ClipWeights } from './towerGraph.js';

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
  const { channels, patchSize, patches } = shape;
  const finder = tensorFinder(file, prefix);
  const { tensor, affine, used } = finder;
  checkDepth(file.path, names, `${prefix}encoder.layers.`, shape.layers);
  const kernels = 'embeddings.patch_embedding.weight';
  const { dims, channelsLast } = kernelDims(file, prefix + kernels, channels, patchSize);
  const weights = {
    classEmbedding: tensor(classEmbedding, [channels]),
    patchEmbedding: { weight: tensor(kernels, dims), channelsLast },
    positionEmbedding: tensor('embeddings.position_embedding.weight', [patches + 1, channels]),
    // Misspelt like this in Hugging Face's files.
    preNorm: affine('pre_layrnorm', [channels]),
    layers: Array.from({ length: shape.layers }, (_, index) => huggingFaceLayer(finder, shape, index)),
  };
  const own = names.filter((name) => name.startsWith(prefix) && (prefix !== '' || parts.test(name)));
  checkAllUsed(file.path, 'CLIP', own, used, (name) => isHarmless(name.slice(prefix.length), shape.layers));
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

/** Every tensor of a tower, in the order of its graph. */
export function tensorsOf({ layers, ...parts }: ClipWeights): TensorLocation[] {
  const { classEmbedding, patchEmbedding, positionEmbedding, preNorm } = parts;
  return [...tensorsIn([classEmbedding, patchEmbedding.weight, positionEmbedding, preNorm]), ...layerTensors(layers)];
}
