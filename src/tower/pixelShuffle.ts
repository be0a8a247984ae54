// Pixel shuffle (space to depth): neighbouring patches become the channels of one token.
import type { GraphBuilder } from '../compute/graphBuilder.js';

/** The sizes of what is shuffled. */
export type PixelShuffle = {
  /** Rows and columns of patches, of which each is as many times `factor`. */
  readonly side: number;
  readonly channels: number;
  /** Rows and columns of patches that make one token: r. */
  readonly factor: number;
};

/**
 * Turns patches [n, side·side, C], row after row, into tokens [n·(side/r)², r·r·C], row after row. Channels of a token: its
 * patches row after row, as InternVL's version 2 and Idefics 3 have them.
 */
export function pixelShuffle(graph: GraphBuilder, patches: string, { side, channels, factor }: PixelShuffle): string {
  const tokens = side / factor;
  const split = graph.node('Reshape', [patches, graph.integers([-1, tokens, factor, tokens, factor, channels])]);
  const turned = graph.node('Transpose', [split], { perm: [0, 1, 3, 2, 4, 5] });
  return graph.node('Reshape', [turned, graph.integers([-1, factor * factor * channels])]);
}

/** Values of patches [n, side·side] as means over those that {@link pixelShuffle} makes one token of: [n, (side/r)²]. */
export function shuffledMeans(
  graph: GraphBuilder,
  values: string,
  { side, factor }: Omit<PixelShuffle, 'channels'>,
): string {
  const tokens = side / factor;
  const split = graph.node('Reshape', [values, graph.integers([-1, tokens, factor, tokens, factor])]);
  const means = graph.node('ReduceMean', [split, graph.integers([2, 4])], { keepdims: 0 });
  return graph.node('Reshape', [means, graph.integers([-1, tokens * tokens])]);
}
