// How much attention tokens get, which reducers rank them by.
import type { GraphBuilder } from '../../compute/graphBuilder.js';
import { sizes } from './sizes.js';

/** The sizes of attention; the number of tokens may be a value [1] by its name. */
type AttentionShape = { readonly channels: number; readonly heads: number; readonly tokens: number | string };

/**
 * The attention that one query of each frame pays to its tokens, the mean over heads: [n, N].
 * @param query [n, 1, C], or [1, 1, C] where it is the same for all frames
 * @param keys [n, N, C]
 */
export function attentionOf(
  graph: GraphBuilder,
  query: string,
  keys: string,
  { channels, heads, tokens }: AttentionShape,
): string {
  const size = channels / heads;
  // Before the product, whose values float16 may not hold otherwise.
  const scaled = graph.node('Mul', [query, graph.number(1 / Math.sqrt(size))]);
  const asked = graph.node('Reshape', [scaled, graph.integers([-1, heads, 1, size])]);
  const split = graph.node('Reshape', [keys, sizes(graph, [-1, tokens, heads, size])]);
  const turned = graph.node('Transpose', [split], { perm: [0, 2, 3, 1] });
  const weights = graph.node('Softmax', [graph.node('MatMul', [asked, turned])], { axis: -1 });
  return graph.node('ReduceMean', [weights, graph.integers([1, 2])], { keepdims: 0 });
}

/** Attention [n, N] without that to the first token: [n, N - 1]. */
export function withoutClassToken(graph: GraphBuilder, attention: string): string {
  const [one, end] = [1, Number.MAX_SAFE_INTEGER].map((value) => graph.integers([value]));
  return graph.node('Slice', [attention, one!, end!, one!]);
}
