// Finds a SigLIP tower's tensors, by Hugging Face's names and by llama.cpp's.
import { LongVLMError } from '../../base/errors.js';
import { tensorNames, type WeightFile } from '../../files/tensorFile.js';
import { huggingFaceLayer } from '../huggingFace/layer.js';
import { mmprojLayer } from '../mmproj.js';
import { checkAllUsed, checkDepth, namesUnder, prefixesOf, tensorFinder } from '../tensorFinder.js';
import { kernelDims } from '../transformer/patchEmbedding.js';
import { findPoolingHead } from './poolingHead.js';
import type { SiglipShape, SiglipWeights } from './towerGraph.js';

const kernels = 'embeddings.patch_embedding.weight';
const classEmbedding = 'embeddings.class_embedding';

/** What stands before the names of a SigLIP tower's tensors, such as `vision_model.`; one for each tower. */
export function siglipPrefixes(names: readonly string[]): string[] {
  const prefixes = prefixesOf(names, [kernels, 'embeddings.position_embedding.weight']);
  const all = new Set(prefixes.length > 0 ? names : []);
  return prefixes.filter((prefix) => !all.has(prefix + classEmbedding));
}

/** The hidden states that need the most layers. */
function depthOf({ patchLayers }: SiglipShape): number {
  return Math.max(...patchLayers);
}

/**
 * Finds the tower's tensors, with any prefix of their names. The file may also hold other tensors.
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when a tensor is missing or has a wrong shape or type; `ERR_LONGVLM_UNSUPPORTED`
 * for two towers, or one with other tensors; as {@link requireTensor}.
 */
export function findSiglip(file: WeightFile, shape: SiglipShape): SiglipWeights {
  const names = tensorNames(file);
  const [prefix, second] = siglipPrefixes(names);
  if (prefix === undefined)
    throw new LongVLMError(
      'ERR_LONGVLM_WEIGHTS',
      `${file.path}: tensor ${kernels} is missing, so it holds no SigLIP vision tower. Give a SigLIP model's weights.`,
    );
  if (second !== undefined)
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `${file.path}: ${prefix}${kernels} and ${second}${kernels} are of two vision towers. Give a file with one.`,
    );
  const { channels, patchSize, patches, normalizes } = shape;
  const depth = depthOf(shape);
  checkDepth(file.path, names, `${prefix}encoder.layers.`, depth);
  const finder = tensorFinder(file, prefix);
  const { tensor, affine, used } = finder;
  const { dims, channelsLast } = kernelDims(file, prefix + kernels, channels, patchSize);
  const weights = {
    patchEmbedding: { weight: tensor(kernels, dims), channelsLast },
    patchBias: tensor('embeddings.patch_embedding.bias', [channels]),
    positionEmbedding: tensor('embeddings.position_embedding.weight', [patches, channels]),
    layers: Array.from({ length: depth }, (_, index) => huggingFaceLayer(finder, shape, index)),
    postNorm: normalizes ? affine('post_layernorm', [channels]) : undefined,
    pool: findPoolingHead(file, prefix, channels),
  };
  const own = names.filter((name) => name.startsWith(prefix) && parts.test(name.slice(prefix.length)));
  checkAllUsed(file.path, 'SigLIP', own, used, (name) => isHarmless(name.slice(prefix.length), depth));
  return weights;
}

const parts = /^(embeddings|encoder|post_layernorm|head)\./;

/** Whether no hidden state that is needed depends on a tensor. */
function isHarmless(name: string, depth: number): boolean {
  if (/^(embeddings\.position_ids$|post_layernorm\.|head\.)/.test(name)) return true;
  const [, index] = /^encoder\.layers\.(\d+)\./.exec(name) ?? [];
  return index !== undefined && Number(index) >= depth;
}

/**
 * @param original the file itself, where `file` is a copy without quantisation
 * @param swapsSquares as of {@link mmprojLayer}
 * @throws as {@link findSiglip}
 */
export function findMmprojSiglip(
  file: WeightFile,
  shape: SiglipShape,
  original: WeightFile,
  swapsSquares = false,
): SiglipWeights {
  const { channels, patchSize, patches, normalizes } = shape;
  const finder = tensorFinder(file);
  const { tensor, affine, used } = finder;
  const weights = {
    patchEmbedding: {
      weight: tensor('v.patch_embd.weight', [channels, 3, patchSize, patchSize]),
      channelsLast: false,
    },
    patchBias: tensor('v.patch_embd.bias', [channels]),
    positionEmbedding: tensor('v.position_embd.weight', [patches, channels]),
    layers: Array.from({ length: depthOf(shape) }, (_, index) => mmprojLayer(file, finder, shape, index, swapsSquares)),
    postNorm: normalizes ? affine('v.post_ln', [channels]) : undefined,
  };
  const own = tensorNames(original).filter((name) => name.startsWith('v.'));
  checkAllUsed(original.path, 'SigLIP', own, used, (name) => isMmprojHarmless(name, depthOf(shape)));
  return weights;
}

function isMmprojHarmless(name: string, depth: number): boolean {
  if (/^v\.(image_newline|view_seperator|position_ids|head\..*)$/.test(name)) return true;
  const [, index] = /^v\.blk\.(\d+)\./.exec(name) ?? [];
  return index !== undefined && Number(index) >= depth;
}

/** Of all names in a file those of its SigLIP towers. */
export function siglipNames(names: readonly string[]): string[] {
  return namesUnder(names, siglipPrefixes(names));
}

/** The only tensor whose name is `name` with any prefix. @throws as {@link requireTensor} */
export function endingWith(file: WeightFile, name: string): string {
  return tensorNames(file).find((other) => other === name || other.endsWith(`.${name}`)) ?? name;
}
