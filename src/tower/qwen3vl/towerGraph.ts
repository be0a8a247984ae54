// The vision tower of Qwen3-VL as a graph, with its merger and those of DeepStack.
import { activate } from '../../compute/activations.js';
import { GraphBuilder, type OnnxModel } from '../../compute/graphBuilder.js';
import type { TensorLocation } from '../../files/tensorFile.js';
import type { PixelNormalization, TowerGraphOptions } from '../source.js';
import { LinearProducts } from '../transformer/linearProducts.js';
import { sizes } from '../transformer/sizes.js';
import { Transformer } from '../transformer/transformer.js';
import type { Affine, LayerWeights } from '../transformer/weights.js';
import { embedPatches } from './embedPatches.js';
import { interpolatedPositions, rotaryPositions } from './positions.js';
import type { QwenShape } from './shape.js';
import { cutSteps, givenPatches } from './stepPatches.js';

/** What makes a token [d] of the patches of a square: a normalisation, and two linear layers with GELU between. */
export type MergerWeights = { readonly norm: Affine; readonly first: Affine; readonly second: Affine };

export type QwenWeights = {
  /** Kernels for consecutive frames of a step: one for all, [C, 3, F, P, P], or one for each, [C, 3, P, P]. */
  readonly patchEmbedding: readonly TensorLocation[];
  readonly patchBias: TensorLocation;
  /** [positions², C]. */
  readonly positionEmbedding: TensorLocation;
  readonly layers: readonly LayerWeights[];
  readonly merger: MergerWeights;
  /** For each layer of `deepstack`. */
  readonly deepstack: readonly MergerWeights[];
};

/** Sizes, pixels and weights of the graph. */
export type QwenTower = {
  readonly shape: QwenShape;
  readonly pixels: PixelNormalization;
  readonly weights: QwenWeights;
};

/**
 * The tower as a graph for frames of any size: see {@link TowerSource.graph}. A token is the embedding and the rows of DeepStack,
 * next to each other. Patches are computed in the order of squares that become a token each.
 */
export function buildQwenTower({ shape, pixels, weights }: QwenTower, options: TowerGraphOptions): Promise<OnnxModel> {
  const { channels, heads, mergeSize, width, activation, epsilon } = shape;
  const { precision } = options;
  const graph = new GraphBuilder('qwen3vl_vision_tower', precision && { precision });
  const cut = options.input === 'uint8' ? cutSteps(graph, shape, pixels) : givenPatches(graph, shape);
  const count = graph.node('Mul', [cut.rows, cut.columns]);
  const rotary = rotaryPositions(graph, cut, shape);
  const transformer = new Transformer(graph, { channels, heads, tokens: count, activation, epsilon, rotary }, options);
  const products = new LinearProducts(graph, options.eightBits);
  const embedded = embedPatches(graph, cut, shape, weights.patchEmbedding);
  const placed = graph.node('Add', [
    transformer.batched(graph.node('Add', [embedded, graph.weight(weights.patchBias)])),
    interpolatedPositions(graph, cut, shape, weights.positionEmbedding),
  ]);
  let state = transformer.begin(transformer.flat(placed), weights.layers[0]!.norm1);
  const stacked: string[] = [];
  const square = channels * mergeSize * mergeSize;
  const squares = (tokens: string) => graph.node('Reshape', [tokens, graph.integers([-1, square])]);
  const merged = (tokens: string, { first, second }: MergerWeights) =>
    products.linear(activate(graph, 'gelu', products.linear(tokens, first)), second);
  for (const [index, layer] of weights.layers.entries()) {
    const next = weights.layers[index + 1];
    state = transformer.layer(state, layer, next ? next.norm1 : weights.merger.norm);
    const place = shape.deepstack.indexOf(index);
    if (place < 0) continue;
    const merger = weights.deepstack[place]!;
    stacked.push(merged(transformer.normalize(squares(state.tokens), merger.norm), merger));
  }
  const rows = [merged(squares(state.normalized), weights.merger), ...stacked];
  const together = rows.length === 1 ? rows[0]! : graph.node('Concat', rows, { axis: -1 });
  const tokens = graph.node('Div', [count, graph.integers([mergeSize * mergeSize])]);
  const shaped = graph.node('Reshape', [together, sizes(graph, [-1, tokens, width * rows.length])]);
  graph.output('patches', shaped, ['steps', 'tokens', width * rows.length]);
  return graph.build();
}
