// The transformer encoder of vision towers: nodes of a graph over weights in place.
import { type Activation, activate } from '../../compute/activations.js';
import { type GraphBuilder, microsoft } from '../../compute/graphBuilder.js';
import type { TowerGraphOptions } from '../source.js';
import { attentionOf } from './attention.js';
import { LinearProducts } from './linearProducts.js';
import { sizes } from './sizes.js';
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

/** Parts of a frame whose tokens attend to each other only. */
export type Windows = {
  /** Tokens [n, N, C] as those of windows [n·windows, M, C], some of which only fill up. */
  readonly split: (batched: string) => string;
  /** 1 for a token of a window, 0 for what fills up: int32 [n·windows, M]. */
  readonly mask: string;
  /** What {@link split} gave, back in order. */
  readonly join: (split: string) => string;
};

/** A hidden state [n·N, C], and the same state normalised for what comes next; empty where nothing does. */
export type State = { readonly tokens: string; readonly normalized: string };

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
   * @param windows to which attention is limited. Defaults to whole frames
   */
  layer({ tokens, normalized }: State, weights: LayerWeights, next: Affine | undefined, windows?: Windows): State {
    const query = this.batched(this.#products.product(normalized, weights.query));
    const attended = this.#attend(query, normalized, weights, windows);
    return this.#addNormalized(this.#afterAttention(tokens, attended, weights), next);
  }

  /** The same layer's output for the first token of each frame: [n, C]. It has no rotary position. */
  layerOfFirstToken({ tokens, normalized }: State, weights: LayerWeights): State {
    const query = this.batched(this.#products.product(this.firstToken(normalized), weights.query), 1);
    const attended = this.#attend(query, normalized, weights);
    return this.#addNormalized(this.#afterAttention(this.firstToken(tokens), attended, weights), undefined);
  }

  /** How much of the attention of each frame's first token its tokens get in a layer, the mean over heads: [n, N]. */
  attentionOfFirst({ normalized }: State, weights: LayerWeights): string {
    const products = this.#products;
    const { query, key, queryNorm, keyNorm } = weights;
    const first = this.batched(products.product(this.firstToken(normalized), query), 1);
    const asked = this.#place(first, query, queryNorm, 1);
    const keys = this.#place(this.batched(products.product(normalized, key)), key, keyNorm);
    return attentionOf(this.#graph, asked, keys, this.#shape);
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

  #attend(query: string, tokens: string, weights: LayerWeights, windows?: Windows): string {
    const graph = this.#graph;
    const keys = this.batched(this.#products.product(tokens, weights.key));
    const values = this.batched(this.#products.product(tokens, weights.value));
    const [biases, ...placed] = this.#places([query, keys, values], weights);
    const attributes = { num_heads: this.#shape.heads };
    if (!windows)
      return this.flat(
        graph.node('MultiHeadAttention', biases === '' ? placed : [...placed, biases], attributes, microsoft),
      );
    const inputs = [...placed.map(windows.split), biases, windows.mask];
    return this.flat(windows.join(graph.node('MultiHeadAttention', inputs, attributes, microsoft)));
  }

  /** The biases together where attention is to add them, else nothing; then queries, keys and values as it takes them. */
  #places(
    [queries, keys, values]: readonly [string, string, string],
    weights: LayerWeights,
  ): [string, string, string, string] {
    const { query, key, value, queryNorm, keyNorm } = weights;
    const biases = [query, key, value].flatMap(({ bias }) => (bias ? [this.#graph.weight(bias)] : []));
    if (!this.#shape.rotary && !queryNorm && !keyNorm)
      return [biases.length > 0 ? this.#graph.node('Concat', biases, { axis: 0 }) : '', queries, keys, values];
    return ['', this.#place(queries, query, queryNorm), this.#place(keys, key, keyNorm), this.#biased(values, value)];
  }

  /** Queries or keys with their bias, normalised and turned as the tower does. */
  #place(batched: string, affine: Affine, norm: Affine | undefined, length = this.#shape.tokens): string {
    const biased = this.#biased(batched, affine);
    const normalized = norm ? this.#normalizeHeads(biased, norm, length) : biased;
    return this.#shape.rotary ? this.#turn(normalized, this.#shape.rotary) : normalized;
  }

  #biased(product: string, { bias }: Affine): string {
    return bias ? this.#graph.node('Add', [product, this.#graph.weight(bias)]) : product;
  }

  /** Normalises queries or keys, all channels of a token together or each head's by themselves. */
  #normalizeHeads(batched: string, norm: Affine, length: TransformerShape['tokens']): string {
    const { channels, heads, headNormalization: how = this.#normalization } = this.#shape;
    const graph = this.#graph;
    if (norm.weight.shape[0] === channels) return normalize(graph, batched, norm, how);
    const split = graph.node('Reshape', [batched, graph.integers([-1, channels / heads])]);
    return this.batched(normalize(graph, split, norm, how), length);
  }

  #turn(batched: string, { cos, sin }: Rotary): string {
    // Of the first token of each frame: those of the others follow.
    const start = this.#graph.integers([0]);
    return this.#graph.node('RotaryEmbedding', [batched, start, cos, sin], {}, microsoft);
  }

  /** The layer's output. */
  #afterAttention(tokens: string, attended: string, weights: LayerWeights): Sum {
    const { out, scale1, norm2, down, scale2 } = weights;
    const products = this.#products;
    const sum = this.#scaled({ tokens, added: products.product(attended, out), bias: out.bias }, scale1);
    const { tokens: residual, normalized } = this.#addNormalized(sum, norm2);
    const added = products.product(this.#inner(normalized, weights), down);
    return this.#scaled({ tokens: residual, added, bias: down.bias }, scale2);
  }

  /** The MLP between its first layers and its last. */
  #inner(normalized: string, { up, gate }: LayerWeights): string {
    const graph = this.#graph;
    const { activation } = this.#shape;
    const risen = this.#products.linear(normalized, up);
    if (!gate) return activate(graph, activation, risen);
    return graph.node('Mul', [activate(graph, activation, this.#products.linear(normalized, gate)), risen]);
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
