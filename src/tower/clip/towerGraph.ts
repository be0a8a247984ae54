import type { Activation } from '../../compute/activations.js';
import { GraphBuilder, type OnnxModel } from '../../compute/graphBuilder.js';
import type { TensorLocation } from '../../files/tensorFile.js';
import { pixelPatches } from '../pixelPatches.js';
import type { PixelNormalization, TowerGraphOptions } from '../source.js';
import { withoutClassToken } from '../transformer/attention.js';
import { type PatchKernels, patchMatrix } from '../transformer/patchEmbedding.js';
import { type State, Transformer } from '../transformer/transformer.js';
import type { Affine, LayerWeights } from '../transformer/weights.js';

/** The sizes of a CLIP vision tower, and how it computes. */
export type ClipShape = {
  /** Channels of a token: C. */
  readonly channels: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Width and height of a frame in pixels: S. */
  readonly imageSize: number;
  readonly patchSize: number;
  /** Patches of one frame: N. */
  readonly patches: number;
  /**
   * Indices of the hidden states, from 0 to L, whose tokens are the patches, with their channels next to each other; only L-1
   * for LongVLM.
   */
  readonly patchLayers: readonly number[];
  /** Whether the first token, that of the class, stays before the patches. */
  readonly keepsClassToken: boolean;
  readonly activation: Activation;
  readonly layerNormEpsilon: number;
};

export type ClipWeights = {
  readonly classEmbedding: TensorLocation;
  readonly patchEmbedding: PatchKernels;
  readonly positionEmbedding: TensorLocation;
  readonly preNorm: Affine;
  readonly layers: readonly LayerWeights[];
};

/** Sizes, pixels and weights of the graph. */
export type ClipTower = {
  readonly shape: ClipShape;
  readonly pixels: PixelNormalization;
  readonly weights: ClipWeights;
};

/**
 * The CLIP vision tower as a graph over weights in place: see {@link TowerSource.graph}. Patches are the hidden states
 * `patchLayers`, with or without their first token; summaries are the first token of each of the L+1 hidden states, or, where
 * the patches are several states, the first token of these. Attention is that of the first token in the layer that the patches come
 * from, the last of these.
 *
 * If the patches come from a hidden state below L, the last layer is computed for the first token only: no other token of
 * hidden state L is an output, and within that layer the first token does not depend on other tokens' queries or MLPs.
 */
export function buildTower({ shape, pixels, weights }: ClipTower, options: TowerGraphOptions): Promise<OnnxModel> {
  const { layers, patchLayers } = shape;
  const tower = new TowerGraph(shape, weights, options);
  const highest = Math.max(...patchLayers);
  const isOne = patchLayers.length === 1;
  const summaries: string[] = [];
  const kept = new Map<number, string>();
  let attention: string | undefined;
  let state = tower.embed(options.input === 'uint8' ? pixels : undefined);
  for (let index = 0; index <= (isOne ? layers : highest); index++) {
    const firstOnly = index === layers && highest < layers;
    if (options.attention && index > 0 && index === highest) attention = tower.attention(state, index - 1);
    if (index > 0) {
      state = firstOnly ? tower.layerOfFirstToken(state, index - 1) : tower.layer(state, index - 1);
    }
    if (patchLayers.includes(index)) kept.set(index, state.tokens);
    if (isOne) summaries.push(firstOnly ? state.tokens : tower.firstToken(state.tokens));
  }
  const states = patchLayers.map((layer) => kept.get(layer)!);
  return tower.finish(
    states.map((tokens) => tower.patches(tokens)),
    isOne ? summaries : [tower.beside(states.map((tokens) => tower.firstToken(tokens)))],
    attention,
  );
}

// Values named `tokens` are [n·(N+1), C].
class TowerGraph {
  readonly #shape: ClipShape;
  readonly #weights: ClipWeights;
  readonly #graph: GraphBuilder;
  readonly #transformer: Transformer;

  constructor(shape: ClipShape, weights: ClipWeights, options: TowerGraphOptions) {
    const { precision } = options;
    this.#graph = new GraphBuilder('clip_vision_tower', precision && { precision });
    this.#shape = shape;
    this.#weights = weights;
    const whole = { ...shape, tokens: shape.patches + 1, epsilon: shape.layerNormEpsilon };
    this.#transformer = new Transformer(this.#graph, whole, options);
  }

  /**
   * Hidden state 0: patch, class and position embeddings, normalised.
   * @param normalization for raw pixels; undefined if pixels are normalised already
   */
  embed(normalization: PixelNormalization | undefined): State {
    const { channels, patches: count } = this.#shape;
    const { classEmbedding, patchEmbedding, positionEmbedding, preNorm, layers } = this.#weights;
    const [graph, transformer] = [this.#graph, this.#transformer];
    const { pixels, patches: rows } = pixelPatches(graph, this.#shape, normalization);
    const embeddings = graph.node('Gemm', [rows, patchMatrix(graph, patchEmbedding)], { transB: 1 });
    const patches = transformer.batched(embeddings, count);
    const frames = graph.node('Shape', [pixels], { start: 0, end: 1 });
    const repeated = graph.node('Concat', [frames, graph.integers([1, channels])], { axis: 0 });
    const first = graph.node('Expand', [graph.weight(classEmbedding), repeated]);
    const embedded = graph.node('Concat', [first, patches], { axis: 1 });
    const placed = graph.node('Add', [embedded, graph.weight(positionEmbedding)]);
    return transformer.begin(transformer.normalize(transformer.flat(placed), preNorm), layers[0]!.norm1);
  }

  /** Hidden state `index + 1`. */
  layer(state: State, index: number): State {
    const { layers } = this.#weights;
    return this.#transformer.layer(state, layers[index]!, layers[index + 1]?.norm1);
  }

  /** The class token's attention to each of a frame's patches in the layer of hidden state `index + 1`: [n, N]. */
  attention(state: State, index: number): string {
    const { keepsClassToken } = this.#shape;
    const attention = this.#transformer.attentionOfFirst(state, this.#weights.layers[index]!);
    return keepsClassToken ? attention : withoutClassToken(this.#graph, attention);
  }

  /** The same for the first token of each frame: [n, C]. */
  layerOfFirstToken(state: State, index: number): State {
    return this.#transformer.layerOfFirstToken(state, this.#weights.layers[index]!);
  }

  firstToken(tokens: string): string {
    return this.#transformer.firstToken(tokens);
  }

  /** The tokens of each frame that are patches: [n, N, C]. */
  patches(tokens: string): string {
    return this.#shape.keepsClassToken ? this.#transformer.batched(tokens) : this.#transformer.withoutFirst(tokens);
  }

  /** Values with their channels next to each other. */
  beside(values: readonly string[]): string {
    return values.length === 1 ? values[0]! : this.#graph.node('Concat', values, { axis: -1 });
  }

  finish(patches: readonly string[], summaries: readonly string[], attention: string | undefined): Promise<OnnxModel> {
    const graph = this.#graph;
    const stacked = summaries.map((value) => graph.node('Unsqueeze', [value, graph.integers([1])]));
    const { keepsClassToken, patches: count } = this.#shape;
    const channels = this.#shape.channels * patches.length;
    const tokens = keepsClassToken ? count + 1 : count;
    graph.output('patches', this.beside(patches), ['frames', tokens, channels]);
    graph.output('summaries', graph.node('Concat', stacked, { axis: 1 }), ['frames', summaries.length, channels]);
    if (attention !== undefined) graph.output('attention', attention, ['frames', tokens]);
    return graph.build();
  }
}
