// Where patches are in a frame: learned embeddings, stretched over any grid, and rotary positions by row and column.

import { largestEdge } from '../../base/resize.js';
import type { GraphBuilder } from '../../compute/graphBuilder.js';
import type { TensorLocation } from '../../files/tensorFile.js';
import { sizes } from '../transformer/sizes.js';
import type { Rotary } from '../transformer/transformer.js';
import type { QwenShape } from './shape.js';
import type { StepPatches } from './stepPatches.js';

type Grid = Pick<StepPatches, 'rows' | 'columns'>;
type RotaryShape = Pick<QwenShape, 'channels' | 'heads' | 'theta' | 'patchSize' | 'mergeSize'>;

/** The learned grid, interpolated so that its corners fall on those of the frame: [patches, C], in the patches' order. */
export function interpolatedPositions(
  graph: GraphBuilder,
  grid: Grid,
  { channels, positions, mergeSize }: QwenShape,
  embedding: TensorLocation,
): string {
  const learned = graph.weight({ ...embedding, shape: [1, positions, positions, channels] });
  const planes = graph.node('Transpose', [learned], { perm: [0, 3, 1, 2] });
  const target = sizes(graph, [1, channels, grid.rows, grid.columns]);
  const stretched = graph.node('Resize', [planes, '', '', target], {
    mode: 'linear',
    coordinate_transformation_mode: 'align_corners',
  });
  const cells = split(graph, stretched, [channels], grid, [], mergeSize);
  const turned = graph.node('Transpose', [cells], { perm: [1, 3, 2, 4, 0] });
  return graph.node('Reshape', [turned, graph.integers([-1, channels])]);
}

/**
 * Rotary positions: the first half of a head's pairs turns by the row, the other by the column, both with the same
 * frequencies. [patches, C / heads / 2], in the patches' order.
 */
export function rotaryPositions(graph: GraphBuilder, grid: Grid, shape: RotaryShape): Rotary {
  const { channels, heads, theta, patchSize, mergeSize } = shape;
  const pairs = channels / heads / 4;
  const most = Math.floor(largestEdge / patchSize);
  const table = (turn: (angle: number) => number) => {
    const values = Float32Array.from({ length: most * pairs }, (_, index) =>
      turn(Math.floor(index / pairs) / theta ** ((index % pairs) / pairs)),
    );
    return graph.floats(values, [most, pairs]);
  };
  const first = (values: string, count: string) =>
    graph.node('Slice', [values, graph.integers([0]), count, graph.integers([0])]);
  const whole = sizes(graph, [grid.rows, grid.columns, pairs]);
  const spread = (values: string, dims: readonly (number | string)[]) =>
    graph.node('Expand', [graph.node('Reshape', [values, sizes(graph, dims)]), whole]);
  const placed = (values: string) => {
    const byRow = spread(first(values, grid.rows), [grid.rows, 1, pairs]);
    const byColumn = spread(first(values, grid.columns), [1, grid.columns, pairs]);
    const both = graph.node('Concat', [byRow, byColumn], { axis: -1 });
    const cells = split(graph, both, [], grid, [2 * pairs], mergeSize);
    const turned = graph.node('Transpose', [cells], { perm: [0, 2, 1, 3, 4] });
    return graph.node('Reshape', [turned, graph.integers([-1, 2 * pairs])]);
  };
  return { cos: placed(table(Math.cos)), sin: placed(table(Math.sin)) };
}

/** Values [..., rows, columns, ...] as [..., rows / m, m, columns / m, m, ...]. */
function split(
  graph: GraphBuilder,
  value: string,
  before: readonly number[],
  { rows, columns }: Grid,
  after: readonly number[],
  mergeSize: number,
): string {
  const part = graph.integers([mergeSize]);
  const [cellRows, cellColumns] = [rows, columns].map((count) => graph.node('Div', [count, part]));
  const dims = sizes(graph, [...before, cellRows!, mergeSize, cellColumns!, mergeSize, ...after]);
  return graph.node('Reshape', [value, dims]);
}
