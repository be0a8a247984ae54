// The vision tower of Qwen2.5-VL as a graph, with its merger.
import { activate } from '../../compute/activations.js';
import { GraphBuilder, type OnnxModel } from '../../compute/graphBuilder.js';
import type { TensorLocation } from '../../files/tensorFile.js';
import { embedPatches } from '../qwen3vl/embedPatches.js';
import { rotaryPositions } from '../qwen3vl/positions.js';
import { cutSteps, givenPatches } from '../qwen3vl/stepPatches.js';
import type { MergerWeights } from '../qwen3vl/towerGraph.js';
import type { PixelNormalization, TowerGraphOptions } from '../source.js';
import { LinearProducts } from '../transformer/linearProducts.js';
import { sizes } from '../transformer/sizes.js';
import { Transformer } from '../transformer/transformer.js';
import type { LayerWeights } from '../transformer/weights.js';
import type { Qwen25Shape } from './shape.js';
import { frameWindows } from './windows.js';

export type Qwen25Weights = {
  /** Kernels for consecutive frames of a step: one for all, [C, 3, F, P, P], or one for each, [C, 3, P, P]. */
  readonly patchEmbedding: readonly TensorLocation[];
  readonly layers: readonly LayerWeights[];
  readonly merger: MergerWeights;
};

/** Sizes, pixels and weights of the graph. */
export type Qwen25Tower = {
  readonly shape: Qwen25Shape;
  readonly pixels: PixelNormalization;
  readonly weights: Qwen25Weights;
};

/**
 * The tower as a graph for frames of any size: see {@link TowerSource.graph}. Patches are computed in the order of squares that
 * become a token each; where attention is limited to windows, it alone takes them window by window.
 */
export function buildQwen25Tower(
  { shape, pixels, weights }: Qwen25Tower,
  options: TowerGraphOptions,
): Promise<OnnxModel> {
  const { channels, heads, mergeSize, width, activation, epsilon, fullLayers } = shape;
  const { layers, merger } = weights;
  const { precision } = options;
  const graph = new GraphBuilder('qwen25vl_vision_tower', precision && { precision });
  const cut = options.input === 'uint8' ? cutSteps(graph, shape, pixels) : givenPatches(graph, shape);
  const count = graph.node('Mul', [cut.rows, cut.columns]);
  const rotary = rotaryPositions(graph, cut, shape);
  const normalization = 'rms';
  const whole = { channels, heads, tokens: count, activation, epsilon, rotary, normalization } as const;
  const transformer = new Transformer(graph, whole, options);
  const embedded = embedPatches(graph, cut, shape, weights.patchEmbedding);
  const windows = frameWindows(graph, cut, transformer.batched(embedded), shape);
  let state = transformer.begin(embedded, layers[0]!.norm1);
  for (const [index, layer] of layers.entries()) {
    const next = layers[index + 1]?.norm1 ?? merger.norm;
    state = transformer.layer(state, layer, next, fullLayers.includes(index) ? undefined : windows);
  }
  const products = new LinearProducts(graph, options.eightBits);
  const square = mergeSize * mergeSize;
  const squares = graph.node('Reshape', [state.normalized, graph.integers([-1, square * channels])]);
  const merged = products.linear(activate(graph, 'gelu', products.linear(squares, merger.first)), merger.second);
  const tokens = graph.node('Div', [count, graph.integers([square])]);
  const shaped = graph.node('Reshape', [merged, sizes(graph, [-1, tokens, width])]);
  graph.output('patches', shaped, ['steps', 'tokens', width]);
  return graph.build();
}
