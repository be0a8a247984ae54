import type { EightBits } from '../../cache/eightBitMatrices.js';
import { type GraphBuilder, microsoft } from '../../compute/graphBuilder.js';
import type { Affine } from './weights.js';

/** Tokens, each divided by its largest magnitude, and those magnitudes, [n·N, 1]. */
type Scaled = { readonly scaled: string; readonly magnitudes: string };

// Avoids a division by zero for a token of zeros.
const smallestScale = 1e-30;

/** Products of tokens [n·N, in] with the matrices of linear layers [out, in], some of which are rounded to eight bits. */
export class LinearProducts {
  readonly #graph: GraphBuilder;
  readonly #eightBits: ReadonlyMap<string, EightBits> | undefined;
  readonly #scaled = new Map<string, Scaled>();

  /** @param eightBits rounded matrices by tensor name */
  constructor(graph: GraphBuilder, eightBits: ReadonlyMap<string, EightBits> | undefined) {
    this.#graph = graph;
    this.#eightBits = eightBits;
  }

  /**
   * A linear layer without its bias, which the next operator adds: Gemm would write it into every row on a single thread.
   * Weights are stored as [out, in] and used in that layout; they are packed once, when the session is created.
   */
  product(tokens: string, { weight }: Affine): string {
    const graph = this.#graph;
    const quantized = this.#eightBits?.get(weight.name);
    if (!quantized) return graph.node('Gemm', [tokens, graph.weight(weight)], { transB: 1 });
    const { scaled, magnitudes } = this.#inScale(tokens);
    const inputs = [scaled, graph.plainWeight(quantized.values), graph.plainWeight(quantized.scales)];
    return graph.node('Mul', [graph.node('DynamicQuantizeMatMul', inputs, {}, microsoft), magnitudes]);
  }

  /** A linear layer. */
  linear(tokens: string, affine: Affine): string {
    const product = this.product(tokens, affine);
    return affine.bias ? this.#graph.node('Add', [product, this.#graph.weight(affine.bias)]) : product;
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
}
