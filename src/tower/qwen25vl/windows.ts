// Windows of a frame of any size: those at its right and lower edge are filled up to the size of the others.
import type { GraphBuilder } from '../../compute/graphBuilder.js';
import { dataTypes } from '../../compute/onnxProto.js';
import type { StepPatches } from '../qwen3vl/stepPatches.js';
import { sizes } from '../transformer/sizes.js';
import type { Windows } from '../transformer/transformer.js';
import type { Qwen25Shape } from './shape.js';

/**
 * @param grid rows and columns of patches, as values [1]
 * @param batched tokens [n, N, C] in the order of the squares that become one token each
 */
export function frameWindows(
  graph: GraphBuilder,
  grid: Pick<StepPatches, 'rows' | 'columns'>,
  batched: string,
  { channels, mergeSize, window }: Pick<Qwen25Shape, 'channels' | 'mergeSize' | 'window'>,
): Windows {
  const one = (value: number) => graph.integers([value]);
  const square = mergeSize * mergeSize;
  const node = (type: string, ...inputs: string[]) => graph.node(type, inputs);
  const [rows, columns] = [grid.rows, grid.columns].map((count) => node('Div', count, one(mergeSize))) as [
    string,
    string,
  ];
  const across = [rows, columns].map((count) => node('Div', node('Add', count, one(window - 1)), one(window)));
  const [down, right] = across as [string, string];
  const filled = across.map((count) => node('Mul', count, one(window)));
  const slots = node('Mul', filled[0]!, filled[1]!);
  const indices = filled.map((count) => upTo(graph, count));
  const lines = node('Reshape', indices[0]!, graph.integers([-1, 1]));

  /** Values of a filled up frame [rows, columns], window after window. */
  const byWindow = (values: string) => {
    const split = node('Reshape', values, sizes(graph, [down, window, right, window]));
    return node('Reshape', graph.node('Transpose', [split], { perm: [0, 2, 1, 3] }), one(-1));
  };
  // What fills up is a copy of the last row or column, and is masked.
  const last = (count: string) => node('Sub', count, one(1));
  const line = node('Mul', node('Min', lines, last(rows)), columns);
  const from = byWindow(node('Add', line, node('Min', indices[1]!, last(columns))));
  const isThere = node('And', node('Less', lines, rows), node('Less', indices[1]!, columns));
  const there = byWindow(graph.node('Cast', [isThere], { to: dataTypes.I32 }));
  const ofPatches = node('Expand', node('Reshape', there, graph.integers([-1, 1])), graph.integers([1, square]));
  const frames = graph.node('Shape', [batched], { start: 0, end: 1 });
  const ofFrames = node('Expand', node('Reshape', ofPatches, graph.integers([1, -1])), sizes(graph, [frames, 1]));

  const placed = node('Reshape', upTo(graph, slots), sizes(graph, [down, right, window, window]));
  const inRows = graph.node('Transpose', [placed], { perm: [0, 2, 1, 3] });
  const whole = node('Reshape', inRows, sizes(graph, [filled[0]!, filled[1]!]));
  const end = sizes(graph, [rows, columns]);
  const to = node('Reshape', node('Slice', whole, graph.integers([0, 0]), end, graph.integers([0, 1])), one(-1));

  const [inSquares, inWindow] = [square * channels, window * window * square];
  const taken = (values: string, places: string) => graph.node('Gather', [values, places], { axis: 1 });
  return {
    split(tokens) {
      const squares = node('Reshape', tokens, sizes(graph, [-1, node('Mul', rows, columns), inSquares]));
      return node('Reshape', taken(squares, from), graph.integers([-1, inWindow, channels]));
    },
    mask: node('Reshape', ofFrames, graph.integers([-1, inWindow])),
    join: (split) => taken(node('Reshape', split, sizes(graph, [-1, slots, inSquares])), to),
  };
}

/** Integers from 0 up to a value [1]. */
function upTo(graph: GraphBuilder, count: string): string {
  const end = graph.node('Squeeze', [count, graph.integers([0])]);
  return graph.node('Range', [graph.scalar(0), end, graph.scalar(1)]);
}
