import type { EightBits } from '../../cache/eightBitMatrices.js';
import { type Activation, activate } from '../../compute/activations.js';
import { type Attribute, GraphBuilder, microsoft, type OnnxModel } from '../../compute/graphBuilder.js';
import type { TensorLocation } from '../../files/tensorFile.js';
import { pixelPatches } from '../pixelPatches.js';
import type { PixelNormalization, TowerGraphOptions } from '../source.js';

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

/** A linear layer ([out, in] and [out]) or the scale and shift of a normalisation ([C] and [C]). */
export type Affine = { readonly weight: TensorLocation; readonly bias: TensorLocation };

export type LayerWeights = {
  readonly norm1: Affine;
  readonly query: Affine;
  readonly key: Affine;
  readonly value: Affine;
  readonly out: Affine;
  readonly norm2: Affine;
  readonly up: Affine;
  readonly down: Affine;
};

export type ClipWeights = {
  readonly classEmbedding: TensorLocation;
  /** [C, 3, P, P], or [C, P, P, 3] if the channels come last. */
  readonly patchEmbedding: TensorLocation;
  readonly channelsLast: boolean;
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
 * the patches are several states, the first token of these.
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
  let state = tower.embed(options.input === 'uint8' ? pixels : undefined);
  for (let index = 0; index <= (isOne ? layers : highest); index++) {
    const firstOnly = index === layers && highest < layers;
    if (index > 0) {
      const [layer, next] = [weights.layers[index - 1]!, weights.layers[index]];
      state = firstOnly ? tower.layerOfFirstToken(state, layer) : tower.layer(state, layer, next);
    }
    if (patchLayers.includes(index)) kept.set(index, state.tokens);
    if (isOne) summaries.push(firstOnly ? state.tokens : tower.firstToken(state.tokens));
  }
  const states = patchLayers.map((layer) => kept.get(layer)!);
  return tower.finish(
    states.map((tokens) => tower.patches(tokens)),
    isOne ? summaries : [tower.beside(states.map((tokens) => tower.firstToken(tokens)))],
  );
}

/** A hidden state, and the same state normalised for the next layer's attention (empty after the last layer). */
type State = { readonly tokens: string; readonly normalized: string };

/** Tokens, each divided by its largest magnitude, and those magnitudes, [n·(N+1), 1]. */
type Scaled = { readonly scaled: string; readonly magnitudes: string };

// Avoids a division by zero for a token of zeros.
const smallestScale = 1e-30;

/** Two values and the bias of the second's linear layer. */
type Sum = readonly [string, string, Affine];

// Values named `tokens` are [n·(N+1), C], the shape for Gemm; `batched` ones are [n, N+1, C].
class TowerGraph {
  readonly #shape: ClipShape;
  readonly #weights: ClipWeights;
  readonly #tokens: number;
  readonly #eightBits: ReadonlyMap<string, EightBits> | undefined;
  readonly #graph: GraphBuilder;
  readonly #scaled = new Map<string, Scaled>();

  constructor(shape: ClipShape, weights: ClipWeights, { eightBits, precision }: TowerGraphOptions) {
    this.#graph = new GraphBuilder('clip_vision_tower', precision && { precision });
    this.#eightBits = eightBits;
    this.#shape = shape;
    this.#weights = weights;
    this.#tokens = shape.patches + 1;
  }

  /**
   * Hidden state 0: patch, class and position embeddings, normalised.
   * @param normalization for raw pixels; undefined if pixels are normalised already
   */
  embed(normalization: PixelNormalization | undefined): State {
    const { channels, patches: count } = this.#shape;
    const graph = this.#graph;
    const { pixels, patches: rows } = pixelPatches(graph, this.#shape, normalization);
    const patches = this.#batched(graph.node('Gemm', [rows, this.#patchMatrix()], { transB: 1 }), count);
    const frames = graph.node('Shape', [pixels], { start: 0, end: 1 });
    const repeated = graph.node('Concat', [frames, graph.integers([1, channels])], { axis: 0 });
    const first = graph.node('Expand', [graph.weight(this.#weights.classEmbedding), repeated]);
    const embedded = graph.node('Concat', [first, patches], { axis: 1 });
    const placed = graph.node('Add', [embedded, graph.weight(this.#weights.positionEmbedding)]);
    const tokens = this.#normalize(this.#flat(placed), this.#weights.preNorm);
    return { tokens, normalized: this.#normalize(tokens, this.#weights.layers[0]!.norm1) };
  }

  /** The kernels of the patch embedding as a matrix [C, P·P·3]. */
  #patchMatrix(): string {
    const { channels, patchSize } = this.#shape;
    const { patchEmbedding, channelsLast } = this.#weights;
    const pixels = patchSize * patchSize;
    // The same bytes under other dims.
    const stored = (shape: readonly number[]) => this.#graph.weight({ ...patchEmbedding, shape });
    if (channelsLast) return stored([channels, pixels * 3]);
    const turned = this.#graph.node('Transpose', [stored([channels, 3, pixels])], { perm: [0, 2, 1] });
    return this.#graph.node('Reshape', [turned, this.#graph.integers([channels, pixels * 3])]);
  }

  /** One transformer layer, for all tokens, and the normalisation that `next` begins with. */
  layer({ tokens, normalized }: State, weights: LayerWeights, next: LayerWeights | undefined): State {
    const query = this.#batched(this.#product(normalized, weights.query), this.#tokens);
    const attended = this.#attend(query, normalized, weights);
    return this.#addNormalized(this.#afterAttention(tokens, attended, weights), next?.norm1);
  }

  /** The same layer's output for the first token of each frame: [n, C]. */
  layerOfFirstToken({ tokens, normalized }: State, weights: LayerWeights): State {
    const query = this.#batched(this.#product(this.firstToken(normalized), weights.query), 1);
    const attended = this.#attend(query, normalized, weights);
    return this.#addNormalized(this.#afterAttention(this.firstToken(tokens), attended, weights), undefined);
  }

  firstToken(tokens: string): string {
    return this.#graph.node('Gather', [this.#batched(tokens, this.#tokens), this.#graph.scalar(0)], { axis: 1 });
  }

  /** The tokens of each frame that are patches: [n, N, C]. */
  patches(tokens: string): string {
    if (this.#shape.keepsClassToken) return this.#batched(tokens, this.#tokens);
    const [from, to, axis] = [1, this.#tokens, 1].map((value) => this.#graph.integers([value]));
    return this.#graph.node('Slice', [this.#batched(tokens, this.#tokens), from!, to!, axis!]);
  }

  /** Values with their channels next to each other. */
  beside(values: readonly string[]): string {
    return values.length === 1 ? values[0]! : this.#graph.node('Concat', values, { axis: -1 });
  }

  finish(patches: readonly string[], summaries: readonly string[]): Promise<OnnxModel> {
    const graph = this.#graph;
    const stacked = summaries.map((value) => graph.node('Unsqueeze', [value, graph.integers([1])]));
    const { keepsClassToken } = this.#shape;
    const channels = this.#shape.channels * patches.length;
    graph.output('patches', this.beside(patches), ['frames', this.#tokens - (keepsClassToken ? 0 : 1), channels]);
    graph.output('summaries', graph.node('Concat', stacked, { axis: 1 }), ['frames', summaries.length, channels]);
    return graph.build();
  }

  #attend(query: string, tokens: string, weights: LayerWeights): string {
    const graph = this.#graph;
    const keys = this.#batched(this.#product(tokens, weights.key), this.#tokens);
    const values = this.#batched(this.#product(tokens, weights.value), this.#tokens);
    const biases = [weights.query, weights.key, weights.value].map(({ bias }) => graph.weight(bias));
    const inputs = [query, keys, values, graph.node('Concat', biases, { axis: 0 })];
    return this.#flat(graph.node('MultiHeadAttention', inputs, { num_heads: this.#shape.heads }, microsoft));
  }

  /** The summands of the layer's output: two values and a bias. */
  #afterAttention(tokens: string, attended: string, { out, norm2, up, down }: LayerWeights): Sum {
    const { tokens: residual, normalized } = this.#addNormalized([tokens, this.#product(attended, out), out], norm2);
    return [residual, this.#product(this.#activate(normalized, up), down), down];
  }

  #addNormalized([tokens, added, { bias }]: Sum, norm: Affine | undefined): State {
    const graph = this.#graph;
    if (!norm) {
      const sum = graph.node('Add', [added, graph.weight(bias)]);
      return { tokens: graph.node('Add', [tokens, sum]), normalized: '' };
    }
    const inputs = [tokens, added, ...[norm.weight, norm.bias, bias].map((weight) => graph.weight(weight))];
    const epsilon = { float: this.#shape.layerNormEpsilon };
    // Outputs: the normalised sum, its mean and deviation, which not every device fills, and the sum.
    const [normalized, sum] = graph.nodes('SkipLayerNormalization', inputs, [0, 3], { epsilon }, microsoft);
    return { tokens: sum!, normalized: normalized! };
  }

  #normalize(tokens: string, { weight, bias }: Affine): string {
    const attributes: Record<string, Attribute> = { axis: -1, epsilon: { float: this.#shape.layerNormEpsilon } };
    return this.#graph.node(
      'LayerNormalization',
      [tokens, this.#graph.weight(weight), this.#graph.weight(bias)],
      attributes,
    );
  }

  #activate(tokens: string, affine: Affine): string {
    const graph = this.#graph;
    const linear = graph.node('Add', [this.#product(tokens, affine), graph.weight(affine.bias)]);
    return activate(graph, this.#shape.activation, linear);
  }

  // A linear layer without its bias, which the next operator adds: Gemm would write it into every row on a single thread.
  // Weights are stored as [out, in] and used in that layout; they are packed once, when the session is created.
  #product(tokens: string, { weight }: Affine): string {
    const graph = this.#graph;
    const quantized = this.#eightBits?.get(weight.name);
    if (!quantized) return graph.node('Gemm', [tokens, graph.weight(weight)], { transB: 1 });
    const { scaled, magnitudes } = this.#inScale(tokens);
    const inputs = [scaled, graph.plainWeight(quantized.values), graph.plainWeight(quantized.scales)];
    return graph.node('Mul', [graph.node('DynamicQuantizeMatMul', inputs, {}, microsoft), magnitudes]);
  }

  // DynamicQuantizeMatMul scales all tokens by their common largest magnitude. In a tower some tokens are many times as large as
  // others, so the small ones would lose precision. Therefore each token is first divided by its own largest magnitude.
  #inScale(tokens: string): Scaled {
    const known = this.#scaled.get(tokens);
    if (known) return known;
    const graph = this.#graph;
    const channels = graph.integers([1]);
    const most = graph.node('ReduceMax', [tokens, channels]);
    const least = graph.node('Neg', [graph.node('ReduceMin', [tokens, channels])]);
    const magnitudes = graph.node('Max', [most, least, graph.number(smallestScale)]);
    const scaled = { scaled: graph.node('Div', [tokens, magnitudes]), magnitudes };
    this.#scaled.set(tokens, scaled);
    return scaled;
  }

  #flat(batched: string): string {
    return this.#graph.node('Reshape', [batched, this.#graph.integers([-1, this.#shape.channels])]);
  }

  #batched(tokens: string, length: number): string {
    return this.#graph.node('Reshape', [tokens, this.#graph.integers([-1, length, this.#shape.channels])]);
  }
}
