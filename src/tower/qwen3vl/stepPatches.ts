// The patches of steps of frames, in the order of the squares that become one token each.
import type { GraphBuilder } from '../../compute/graphBuilder.js';
import { normalized } from '../pixelPatches.js';
import type { PixelNormalization } from '../source.js';
import { sizes } from '../transformer/sizes.js';
import type { QwenShape } from './shape.js';

/** Patches as names of a graph's values. */
export type StepPatches = {
  /** [n·rows·columns, values], normalised. */
  readonly patches: string;
  /** Values [1] with the number of rows and of columns of patches in a frame. */
  readonly rows: string;
  readonly columns: string;
  /** How the values of a patch lie: [F, P, P, 3] or [3, F, P, P]. */
  readonly order: 'channels last' | 'channels first';
};

type PatchSizes = Pick<QwenShape, 'patchSize' | 'framesPerStep' | 'mergeSize'>;

/** An input `pixels` of bytes [n, F, height, width, 3], cut into patches. */
export function cutSteps(graph: GraphBuilder, shape: PatchSizes, normalization: PixelNormalization): StepPatches {
  const { patchSize, framesPerStep, mergeSize } = shape;
  const pixels = graph.input('pixels', ['steps', framesPerStep, 'height', 'width', 3], 'uint8');
  const edge = (axis: number, part: number) => graph.node('Div', [sizeOf(graph, pixels, axis), graph.integers([part])]);
  const cells = [2, 3].map((axis) => edge(axis, patchSize * mergeSize));
  // A row of a patch's pixels is one axis: not every device turns tensors of more than eight.
  const row = patchSize * 3;
  const split = sizes(graph, [-1, framesPerStep, cells[0]!, mergeSize, patchSize, cells[1]!, mergeSize, row]);
  const turned = graph.node('Transpose', [graph.node('Reshape', [pixels, split])], { perm: [0, 2, 5, 3, 6, 1, 4, 7] });
  const count = framesPerStep * patchSize * row;
  const bytes = graph.node('Reshape', [turned, graph.integers([-1, count])]);
  return {
    patches: normalized(graph, bytes, count, normalization),
    rows: edge(2, patchSize),
    columns: edge(3, patchSize),
    order: 'channels last',
  };
}

/** An input `pixels` of patches [n, rows, columns, 3·F·P·P], normalised and in order as the model's own processor gives them. */
export function givenPatches(graph: GraphBuilder, { patchSize, framesPerStep }: PatchSizes): StepPatches {
  const count = 3 * framesPerStep * patchSize * patchSize;
  const pixels = graph.input('pixels', ['steps', 'rows', 'columns', count]);
  return {
    patches: graph.node('Reshape', [pixels, graph.integers([-1, count])]),
    rows: sizeOf(graph, pixels, 1),
    columns: sizeOf(graph, pixels, 2),
    order: 'channels first',
  };
}

function sizeOf(graph: GraphBuilder, value: string, axis: number): string {
  return graph.node('Shape', [value], { start: axis, end: axis + 1 });
}
