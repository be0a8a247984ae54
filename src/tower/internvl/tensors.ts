// Finds the tensors of InternVL's vision tower and projector, by transformers' names, its authors' and llama.cpp's.
import { LongVLMError } from '../../base/errors.js';
import { type TensorLocation, tensorNames, type WeightFile } from '../../files/tensorFile.js';
import { checkAllUsed, checkDepth, prefixesOf, type TensorFinder, tensorFinder } from '../tensorFinder.js';
import { kernelDims } from '../transformer/patchEmbedding.js';
import { type Affine, type LayerWeights, splitRows } from '../transformer/weights.js';
import type { InternvlShape, InternvlWeights } from './towerGraph.js';

/** How the tensors are named. */
type Layout = {
  readonly classEmbedding: string;
  readonly patchEmbedding: string;
  readonly positionEmbedding: string;
  /** Of each layer, before its number. */
  readonly layers: string;
  /** Queries, keys and values: three names, or one where they are one tensor. */
  readonly attention: readonly string[];
  readonly queryNorm: string;
  readonly keyNorm: string;
  readonly out: string;
  readonly norms: readonly [string, string];
  readonly mlp: readonly [string, string];
  readonly scales: readonly [string, string];
  readonly endNorm?: string;
  readonly projector: readonly [norm: string, first: string, second: string];
  /** Which names are of the tower or the projector. */
  readonly own: RegExp;
  /** Which of those no token depends on. */
  readonly harmless?: RegExp;
};

const classToken = 'vision_tower.embeddings.cls_token';
const hub: Layout = {
  classEmbedding: classToken,
  patchEmbedding: 'vision_tower.embeddings.patch_embeddings.projection',
  positionEmbedding: 'vision_tower.embeddings.position_embeddings',
  layers: 'vision_tower.encoder.layer.',
  attention: ['attention.q_proj', 'attention.k_proj', 'attention.v_proj'],
  queryNorm: 'attention.q_norm',
  keyNorm: 'attention.k_norm',
  out: 'attention.projection_layer',
  norms: ['layernorm_before', 'layernorm_after'],
  mlp: ['mlp.fc1', 'mlp.fc2'],
  scales: ['lambda_1', 'lambda_2'],
  endNorm: 'vision_tower.layernorm',
  projector: ['multi_modal_projector.layer_norm', 'multi_modal_projector.linear_1', 'multi_modal_projector.linear_2'],
  own: /^(vision_tower|multi_modal_projector)\./,
  // The norm belongs to the last hidden state.
  harmless: /^vision_tower\.(embeddings\.mask_token$|layernorm\.)/,
};

const authorsClass = 'vision_model.embeddings.class_embedding';
const authorsNorm = 'mlp1.0.weight';
const authors: Layout = {
  classEmbedding: authorsClass,
  patchEmbedding: 'vision_model.embeddings.patch_embedding',
  positionEmbedding: 'vision_model.embeddings.position_embedding',
  layers: 'vision_model.encoder.layers.',
  attention: ['attn.qkv'],
  queryNorm: 'attn.q_norm',
  keyNorm: 'attn.k_norm',
  out: 'attn.proj',
  norms: ['norm1', 'norm2'],
  mlp: ['mlp.fc1', 'mlp.fc2'],
  scales: ['ls1', 'ls2'],
  projector: ['mlp1.0', 'mlp1.1', 'mlp1.3'],
  // Others would take part in the way from frames to tokens.
  own: /^(?!language_model\.)/,
};

const mmproj: Layout = {
  classEmbedding: 'v.class_embd',
  patchEmbedding: 'v.patch_embd',
  positionEmbedding: 'v.position_embd.weight',
  layers: 'v.blk.',
  attention: ['attn_q', 'attn_k', 'attn_v'],
  queryNorm: 'attn_q_norm',
  keyNorm: 'attn_k_norm',
  out: 'attn_out',
  norms: ['ln1', 'ln2'],
  mlp: ['ffn_up', 'ffn_down'],
  scales: ['ls1.weight', 'ls2.weight'],
  projector: ['mm.model.mlp.0', 'mm.model.mlp.1', 'mm.model.mlp.3'],
  own: /^(v|mm)\./,
};

/** Of all names in a file those of the tower and the projector. */
export function internvlNames(names: readonly string[]): string[] {
  const [prefix] = hubPrefixes(names);
  if (prefix !== undefined) return names.filter((name) => ownOf(name, prefix, hub));
  const isAuthors = names.includes(authorsClass) && names.includes(authorsNorm);
  return isAuthors ? names.filter((name) => /^(vision_model|mlp1)\./.test(name)) : [];
}

function hubPrefixes(names: readonly string[]): string[] {
  return prefixesOf(names, [classToken]);
}

function ownOf(name: string, prefix: string, { own }: Layout): boolean {
  return name.startsWith(prefix) && own.test(name.slice(prefix.length));
}

/**
 * The weights by transformers' names, with any prefix.
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when a tensor is missing or has a wrong shape or type; `ERR_LONGVLM_UNSUPPORTED`
 * for other tensors than those of one tower and its projector. The messages name them.
 */
export function findHubWeights(file: WeightFile, shape: InternvlShape): InternvlWeights {
  const [prefix = '', second] = hubPrefixes(tensorNames(file));
  if (second !== undefined)
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `${file.path}: ${prefix}${classToken} and ${second}${classToken} are of two vision towers. Give a file with one.`,
    );
  return findWeights(file, prefix, hub, shape);
}

/** The weights by the authors' names. @throws as {@link findHubWeights} */
export function findAuthorsWeights(file: WeightFile, shape: InternvlShape): InternvlWeights {
  return findWeights(file, '', authors, shape);
}

/** The weights of an mmproj file. @throws as {@link findHubWeights} */
export function findMmprojWeights(file: WeightFile, shape: InternvlShape): InternvlWeights {
  return findWeights(file, '', mmproj, shape);
}

function findWeights(file: WeightFile, prefix: string, layout: Layout, shape: InternvlShape): InternvlWeights {
  const { channels, patches, patchLayer, patchSize, endNorm } = shape;
  const names = tensorNames(file).filter((name) => ownOf(name, prefix, layout));
  const finder = tensorFinder(file, prefix);
  const { affine, tensor, used } = finder;
  const classEmbedding = row(file, finder, prefix, layout.classEmbedding, [channels]);
  checkDepth(file.path, names, prefix + layout.layers, shape.layers);
  const kernels = `${layout.patchEmbedding}.weight`;
  const { dims, channelsLast } = kernelDims(file, prefix + kernels, channels, patchSize);
  const weights = {
    classEmbedding,
    patchEmbedding: {
      weight: tensor(kernels, dims),
      channelsLast,
      bias: tensor(`${layout.patchEmbedding}.bias`, [channels]),
    },
    positionEmbedding: row(file, finder, prefix, layout.positionEmbedding, [patches + 1, channels]),
    layers: Array.from({ length: patchLayer }, (_, index) => layerWeights(finder, layout, shape, index)),
    endNorm: endNorm && layout.endNorm !== undefined ? affine(layout.endNorm, [channels]) : undefined,
    projector: projectorWeights(finder, layout, channels * shape.factor ** 2),
  };
  checkAllUsed(file.path, 'InternVL', names, used, (name) => isHarmless(name.slice(prefix.length), layout, shape));
  return weights;
}

/** A tensor of `dims`, before which a file may have further ones of 1. */
function row(file: WeightFile, { tensor }: TensorFinder, prefix: string, name: string, dims: number[]): TensorLocation {
  const given = file.tensors.get(prefix + name)?.shape.length ?? 0;
  const ones = new Array<number>(Math.max(0, Math.min(given, 3) - dims.length)).fill(1);
  return { ...tensor(name, [...ones, ...dims]), shape: dims };
}

function layerWeights(finder: TensorFinder, layout: Layout, shape: InternvlShape, index: number): LayerWeights {
  const { channels, intermediateSize, normalization, queryKeyEpsilon, attentionBias } = shape;
  const name = (part: string) => `${layout.layers}${index}.${part}`;
  const norm = (part: string) => normWeights(finder, name(part), channels, normalization.kind === 'layer');
  const headNorm = (part: string) =>
    queryKeyEpsilon === undefined ? undefined : normWeights(finder, name(part), channels, false);
  const [query, key, value] = attentionWeights(finder, layout.attention.map(name), channels, attentionBias);
  return {
    norm1: norm(layout.norms[0]),
    ...{ query: query!, key: key!, value: value! },
    queryNorm: headNorm(layout.queryNorm),
    keyNorm: headNorm(layout.keyNorm),
    out: finder.affine(name(layout.out), [channels, channels]),
    scale1: finder.tensor(name(layout.scales[0]), [channels]),
    norm2: norm(layout.norms[1]),
    up: finder.affine(name(layout.mlp[0]), [intermediateSize, channels]),
    down: finder.affine(name(layout.mlp[1]), [channels, intermediateSize]),
    scale2: finder.tensor(name(layout.scales[1]), [channels]),
  };
}

function normWeights({ affine, tensor }: TensorFinder, name: string, channels: number, hasBias: boolean): Affine {
  return hasBias ? affine(name, [channels]) : { weight: tensor(`${name}.weight`, [channels]) };
}

/** Queries, keys and values. */
function attentionWeights(
  { tensor }: TensorFinder,
  names: readonly string[],
  channels: number,
  hasBias: boolean,
): Affine[] {
  const rows = (3 / names.length) * channels;
  const parts = (part: string, dims: readonly number[]) =>
    names.flatMap((name) => splitRows(tensor(`${name}.${part}`, dims), rows / channels));
  const weights = parts('weight', [rows, channels]);
  const biases = hasBias ? parts('bias', [rows]) : [];
  return weights.map((weight, index) => ({ weight, ...(hasBias && { bias: biases[index]! }) }));
}

function projectorWeights({ affine, tensor }: TensorFinder, { projector }: Layout, channels: number) {
  const [norm, first, second] = projector;
  const linear = (name: string, inChannels: number): Affine => {
    const weight = tensor(`${name}.weight`, [-1, inChannels]);
    return { weight, bias: tensor(`${name}.bias`, [weight.shape[0]!]) };
  };
  const inner = linear(first, channels);
  return { norm: affine(norm, [channels]), first: inner, second: linear(second, inner.weight.shape[0]!) };
}

/** Whether no token depends on a tensor: also those of layers that are not computed. */
function isHarmless(name: string, { harmless, layers }: Layout, { patchLayer }: InternvlShape): boolean {
  if (harmless?.test(name)) return true;
  if (!name.startsWith(layers)) return false;
  const index = Number(name.slice(layers.length, name.indexOf('.', layers.length)));
  return index >= patchLayer;
}
