import { GraphBuilder, type OnnxModel } from '../../compute/graphBuilder.js';
import type { TensorLocation } from '../../files/tensorFile.js';
import type { VisionShape } from '../huggingFace/shape.js';
import { pixelPatches } from '../pixelPatches.js';
import type { PixelNormalization, TowerGraphOptions } from '../source.js';
import { withoutClassToken } from '../transformer/attention.js';
import { type PatchKernels, patchMatrix } from '../transformer/patchEmbedding.js';
import { Transformer } from '../transformer/transformer.js';
import { type Affine, type LayerWeights, layerTensors, tensorsIn } from '../transformer/weights.js';
import { type PoolingHead, poolingAttention } from './poolingHead.js';

/** The sizes of a SigLIP vision tower, and which of its states the tokens are. */
export type SiglipShape = VisionShape & {
  /** Indices of hidden states, from 0 to the number of layers: the tokens, with their channels next to each other. */
  readonly patchLayers: readonly number[];
  /** Whether the last of these states is normalised, as `last_hidden_state` is. */
  readonly normalizes: boolean;
  /** Whether the first patch of a frame stays. LLaVA's strategy `default` leaves it out, as if it were a class token. */
  readonly keepsFirst: boolean;
};

/** The weights up to the highest layer that is needed. */
export type SiglipWeights = {
  readonly patchEmbedding: PatchKernels;
  readonly patchBias: TensorLocation;
  readonly positionEmbedding: TensorLocation;
  readonly layers: readonly LayerWeights[];
  readonly postNorm: Affine | undefined;
  /** The pooling head, where the file has one. */
  readonly pool?: PoolingHead | undefined;
};

/** Makes tokens of another kind: of values [n, N, C] others [n, count, width]. */
export type Connector = {
  readonly add: (graph: GraphBuilder, tokens: string) => string;
  /** Of attention to patches [n, N] that to tokens [n, count]. Undefined where tokens are none of patches alone. */
  readonly pool?: (graph: GraphBuilder, attention: string) => string;
  readonly count: number;
  /** Those tokens as rows and columns. */
  readonly grid: readonly [rows: number, columns: number];
  readonly width: number;
  readonly tensors: readonly TensorLocation[];
};

/** Tokens of a frame before a connector. */
export function tokensOf({ patches, keepsFirst }: SiglipShape): number {
  return keepsFirst ? patches : patches - 1;
}

/** Every tensor of the tower, in the order of its graph. */
export function siglipTensors(weights: SiglipWeights): TensorLocation[] {
  const { patchEmbedding, patchBias, positionEmbedding, layers, postNorm } = weights;
  return [
    ...tensorsIn([patchEmbedding.weight, patchBias, positionEmbedding]),
    ...layerTensors(layers),
    ...tensorsIn([postNorm]),
  ];
}

/** Sizes, pixels and weights of the graph. */
export type SiglipTower = {
  readonly shape: SiglipShape;
  readonly pixels: PixelNormalization;
  readonly weights: SiglipWeights;
  readonly connector?: Connector | undefined;
};

/** The SigLIP vision tower, and its connector, as a graph over weights in place: see {@link TowerSource.graph}. */
export function buildSiglip(tower: SiglipTower, options: TowerGraphOptions): Promise<OnnxModel> {
  const { shape, pixels, weights, connector } = tower;
  const { precision } = options;
  const graph = new GraphBuilder('siglip_vision_tower', precision && { precision });
  const { states, attention } = hiddenStates(graph, { shape, pixels, weights }, options);
  const tokens = states.length === 1 ? states[0]! : graph.node('Concat', [...states], { axis: -1 });
  const count = connector?.count ?? tokensOf(shape);
  const width = connector?.width ?? shape.channels * states.length;
  graph.output('patches', connector ? connector.add(graph, tokens) : tokens, ['frames', count, width]);
  if (attention !== undefined) {
    const ofTokens = connector?.pool ? connector.pool(graph, attention) : attention;
    graph.output('attention', ofTokens, ['frames', count]);
  }
  return graph.build();
}

/** The hidden states that are wanted, each [n, N, C], and the attention [n, N] that the highest of them gets, if it is. */
function hiddenStates(
  graph: GraphBuilder,
  { shape, pixels, weights }: SiglipTower,
  options: TowerGraphOptions,
): { readonly states: readonly string[]; readonly attention: string | undefined } {
  const { patches: count, patchLayers, normalizes, keepsFirst, layerNormEpsilon: epsilon } = shape;
  const { layers, postNorm } = weights;
  const transformer = new Transformer(graph, { ...shape, tokens: count, epsilon }, options);
  const wanted = (tokens: string) => (keepsFirst ? transformer.batched(tokens) : transformer.withoutFirst(tokens));
  const { patches } = pixelPatches(graph, shape, options.input === 'uint8' ? pixels : undefined);
  const embedded = graph.node('Gemm', [patches, patchMatrix(graph, weights.patchEmbedding)], { transB: 1 });
  const places = graph.node('Add', [graph.weight(weights.positionEmbedding), graph.weight(weights.patchBias)]);
  const tokens = transformer.flat(graph.node('Add', [transformer.batched(embedded), places]));
  let state = layers[0] ? transformer.begin(tokens, layers[0].norm1) : { tokens, normalized: '' };
  const kept = new Map([[0, state.tokens]]);
  for (const [index, layer] of layers.entries()) {
    state = transformer.layer(state, layer, layers[index + 1]?.norm1 ?? (normalizes ? postNorm : undefined));
    kept.set(index + 1, state.tokens);
  }
  const probed =
    options.attention && weights.pool ? poolingAttention(graph, state.tokens, weights.pool, shape) : undefined;
  if (normalizes)
    kept.set(layers.length, layers.length > 0 ? state.normalized : transformer.normalize(tokens, postNorm!));
  return {
    states: patchLayers.map((layer) => wanted(kept.get(layer)!)),
    attention: probed === undefined || keepsFirst ? probed : withoutClassToken(graph, probed),
  };
}
