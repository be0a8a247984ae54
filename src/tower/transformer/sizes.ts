import type { GraphBuilder } from '../../compute/graphBuilder.js';

/** A value with a list of sizes, some of which are values [1] by their names. */
export function sizes(graph: GraphBuilder, list: readonly (number | string)[]): string {
  if (list.every((size) => typeof size === 'number')) return graph.integers(list);
  const parts = list.map((size) => (typeof size === 'number' ? graph.integers([size]) : size));
  return parts.length === 1 ? parts[0]! : graph.node('Concat', parts, { axis: 0 });
}
