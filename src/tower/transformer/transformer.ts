// The transformer encoder of vision towers: nodes of a graph over weights in place.
import { type Activation, activate } from '../../compute/activations.js';
import { type GraphBuilder, microsoft } from '../../compute/graphBuilder.js';
import type { TowerGraphOptions } from '../source.js';
import { LinearProducts } from './linearProducts.js';
import type { Affine, LayerWeights } from './weights.js';

/** The sizes of a transformer encoder, and how it computes. */
export type TransformerShape = {
  /** Channels of a token: C. */
  readonly channels: number;
  readonly heads: number;
  /**
   * Tokens of one frame: N, or the name of a value [1] with their number where that depends on the input. Each attends to those
   * of its own frame only.
   */
  readonly tokens: number | string;
  readonly activation: Activation;
  /** Of every normalisation. */
  readonly epsilon: number;
  /** Of a layer's tokens. Defaults to `layer`. */
  readonly normalization?: Normalization['kind'];
  /** How queries and keys are normalised, where they are. Defaults to {@link normalization} and {@link epsilon}. */
  readonly headNormalization?: Normalization;
  /** Turns queries and keys by their position. Defaults to no such turn. */
  readonly rotary?: Rotary;
};

/** By mean and deviation, or by the root of the mean square alone. */
export type Normalization = { readonly kind: 'layer' | 'rms'; readonly epsilon: number };

/**
 * Rotary positions, as names of values: cosine and sine for each token and each pair of a head's channels, [N, C / heads / 2].
 * Channel i is paired with channel i + C / heads / 2.
 */
export type Rotary = { readonly cos: string; readonly sin: string };

/** A hidden state [n·N, C], and the same state normalised for what comes next; empty where nothing does. */
export type State = { readonly tokens: string; readonly normalized: string };

/** A value with a list of sizes, some of which are values [1] by their names. */
export function sizes(graph: GraphBuilder, list: readonly (number | string)[]): string {
  if (list.every((size) => typeof size === 'number')) return graph.integers(list);
  const parts = list.map((size) => (typeof size === 'number' ? graph.integers([size]) : size));
  return parts.length === 1 ? parts[0]! : graph.node('Concat', parts, { axis: 0 });
}

/** Two values and the bias that belongs to the second: a state that is not added up yet. */
type Sum = { readonly tokens: string; readonly added: string; readonly bias: Affine['bias'] };

/** Normalises the last axis of a value. */
export function normalize(
  graph: GraphBuilder,
  value: string,
  affine: Affine,
  { kind, epsilon }: Normalization,
): string {
  const { weight, bias } = affine;
  const inputs = [value, graph.weight(weight), ...(bias ? [graph.weight(bias)] : [])];
  // The latter is ONNX Runtime's own, though not in its domain.
  const type = kind === 'layer' ? 'LayerNormalization' : 'SimplifiedLayerNormalization';
  return graph.node(type, inputs, { axis: -1, epsilon: { float: epsilon } });
}

/** Values named `tokens` are [n·N, C], the shape for Gemm; `batched` ones are [n, N, C]. */
export class Transformer {
  readonly #graph: GraphBuilder;
  readonly #shape: TransformerShape;
  readonly #products: LinearProducts;

  /** @param options `eightBits`: rounded matrices by tensor name */
  constructor(graph: GraphBuilder, shape: TransformerShape, { eightBits }: Pick<TowerGraphOptions, 'eightBits'>) {
    this.#graph = graph;
    this.#shape = shape;
    this.#products = new LinearProducts(graph, eightBits);
  }

  /** Normalises tokens for the first layer, `norm` being its `norm1`. */
  begin(tokens: string, norm: Affine): State {
    return { tokens, normalized: this.normalize(tokens, norm) };
  }

  /**
   * One layer, for all tokens.
   * @param next the normalisation that comes after it: the next layer's `norm1`, or that of the end, or none
   */
  layer({ tokens, normalized }: State, weights: LayerWeights, next: Affine | undefined): State {
    const query = this.batched(this.#products.product(normalized, weights.query));
    const attended = this.#attend(query, normalized, weights);
    return this.#addNormalized(this.#afterAttention(tokens, attended, weights), next);
  }

  /** The same layer's output for the first token of each frame: [n, C]. It has no rotary position. */
  layerOfFirstToken({ tokens, normalized }: State, weights: LayerWeights): State {
    const query = this.batched(this.#products.product(this.firstToken(normalized), weights.query), 1);
    const attended = this.#attend(query, normalized, weights);
    return this.#addNormalized(this.#afterAttention(this.firstToken(tokens), attended, weights), undefined);
  }

  /** The first token of each frame: [n, C]. */
  firstToken(tokens: string): string {
    return this.#graph.node('Gather', [this.batched(tokens), this.#graph.scalar(0)], { axis: 1 });
  }

  /** The tokens of each frame but the first `count`: [n, N - count, C]. */
  withoutFirst(tokens: string, count = 1): string {
    const [from, axis] = [count, 1].map((value) => this.#graph.integers([value]));
    return this.#graph.node('Slice', [this.batched(tokens), from!, sizes(this.#graph, [this.#shape.tokens]), axis!]);
  }

  normalize(tokens: string, affine: Affine): string {
    return normalize(this.#graph, tokens, affine, this.#normalization);
  }

  get #normalization(): Normalization {
    return { kind: this.#shape.normalization ?? 'layer', epsilon: this.#shape.epsilon };
  }

  flat(batched: string): string {
    return this.#graph.node('Reshape', [batched, this.#graph.integers([-1, this.#shape.channels])]);
  }

  batched(tokens: string, length = this.#shape.tokens): string {
    return this.#graph.node('Reshape', [tokens, sizes(this.#graph, [-1, length, this.#shape.channels])]);
  }

  #attend(query: string, tokens: string, weights: LayerWeights): string {
    const graph = this.#graph;
    const keys = this.batched(this.#products.product(tokens, weights.key));
    const values = this.batched(this.#products.product(tokens, weights.value));
    const inputs = this.#places([query, keys, values], weights);
    return this.flat(graph.node('MultiHeadAttention', inputs, { num_heads: this.#shape.heads }, microsoft));
  }

  /** Queries, keys and values as attention takes them, and their biases together where it is to add them. */
  #places(products: readonly [string, string, string], { query, key, value, ...norms }: LayerWeights): string[] {
    const graph = this.#graph;
    const { rotary } = this.#shape;
    const biases = [query, key, value].flatMap(({ bias }) => (bias ? [graph.weight(bias)] : []));
    if (!rotary && !norms.queryNorm && !norms.keyNorm)
      return biases.length === 0 ? [...products] : [...products, graph.node('Concat', biases, { axis: 0 })];
    const biased = products.map((product, index) =>
      biases.length === 0 ? product : graph.node('Add', [product, biases[index]!]),
    );
    const turned = [norms.queryNorm, norms.keyNorm].map((norm, index) => {
      const normalized = norm ? this.#normalizeHeads(biased[index]!, norm) : biased[index]!;
      return rotary ? this.#turn(normalized, rotary) : normalized;
    });
    return [...turned, biased[2]!];
  }

  /** Normalises queries or keys, all channels of a token together or each head's by themselves. */
  #normalizeHeads(batched: string, norm: Affine): string {
    const { channels, heads, headNormalization: how = this.#normalization } = this.#shape;
    const graph = this.#graph;
    if (norm.weight.shape[0] === channels) return normalize(graph, batched, norm, how);
    const split = graph.node('Reshape', [batched, graph.integers([-1, channels / heads])]);
    return this.batched(normalize(graph, split, norm, how));
  }

  #turn(batched: string, { cos, sin }: Rotary): string {
    // Of the first token of each frame: those of the others follow.
    const start = this.#graph.integers([0]);
    return this.#graph.node('RotaryEmbedding', [batched, start, cos, sin], {}, microsoft);
  }

  /** The layer's output. */
  #afterAttention(tokens: string, attended: string, weights: LayerWeights): Sum {
    const { out, scale1, norm2, up, down, scale2 } = weights;
    const products = this.#products;
    const sum = this.#scaled({ tokens, added: products.product(attended, out), bias: out.bias }, scale1);
    const { tokens: residual, normalized } = this.#addNormalized(sum, norm2);
    const inner = activate(this.#graph, this.#shape.activation, products.linear(normalized, up));
    return this.#scaled({ tokens: residual, added: products.product(inner, down), bias: down.bias }, scale2);
  }

  /** A sum whose second value is scaled, channel by channel. */
  #scaled({ tokens, added, bias }: Sum, scale: LayerWeights['scale1']): Sum {
    if (!scale) return { tokens, added, bias };
    const graph = this.#graph;
    const whole = bias ? graph.node('Add', [added, graph.weight(bias)]) : added;
    return { tokens, added: graph.node('Mul', [whole, graph.weight(scale)]), bias: undefined };
  }

  #addNormalized({ tokens, added, bias }: Sum, norm: Affine | undefined): State {
    const graph = this.#graph;
    if (!norm) {
      const sum = bias ? graph.node('Add', [added, graph.weight(bias)]) : added;
      return { tokens: graph.node('Add', [tokens, sum]), normalized: '' };
    }
    const isLayer = this.#shape.normalization !== 'rms';
    const parts = isLayer ? [norm.weight, norm.bias, bias] : [norm.weight, bias];
    const inputs = [tokens, added, ...parts.map((part) => (part ? graph.weight(part) : ''))];
    while (inputs.at(-1) === '') inputs.pop();
    const attributes = { epsilon: { float: this.#shape.epsilon } };
    const type = isLayer ? 'SkipLayerNormalization' : 'SkipSimplifiedLayerNormalization';
    // Outputs: the normalised sum, its mean and deviation, which not every device fills, and the sum.
    const [normalized, sum] = graph.nodes(type, inputs, [0, 3], attributes, microsoft);
    return { tokens: sum!, normalized: normalized! };
  }
}
