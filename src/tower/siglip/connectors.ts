// What stands between a SigLIP tower and a language model: linear layers, before pooling or behind a pixel shuffle.
import { type Activation, activate } from '../../compute/activations.js';
import type { GraphBuilder } from '../../compute/graphBuilder.js';
import type { TensorLocation } from '../../files/tensorFile.js';
import { pixelShuffle, shuffledMeans } from '../pixelShuffle.js';
import { LinearProducts } from '../transformer/linearProducts.js';
import { type Affine, tensorsIn } from '../transformer/weights.js';
import type { Connector } from './towerGraph.js';

/**
 * SmolVLM's and Idefics3's: squares of `scale` by `scale` patches become one token, their channels next to each other, row after
 * row; then one linear layer.
 * @param side patches of a row and of a column, a multiple of `scale`
 * @param weight [width, scale²·C]
 */
export function shuffleLinear(side: number, scale: number, weight: TensorLocation): Connector {
  const [width, inputs] = weight.shape as [number, number];
  const squares = side / scale;
  return {
    count: squares * squares,
    grid: [squares, squares],
    width,
    tensors: [weight],
    pool: (graph, attention) => shuffledMeans(graph, attention, { side, factor: scale }),
    add(graph, tokens) {
      const joined = pixelShuffle(graph, tokens, { side, channels: inputs / scale / scale, factor: scale });
      const embeddings = new LinearProducts(graph, undefined).linear(joined, { weight });
      return graph.node('Reshape', [embeddings, graph.integers([-1, squares * squares, width])]);
    },
  };
}

/** Two linear layers with an activation between them. */
export type TwoLayers = { readonly up: Affine; readonly down: Affine; readonly activation: Activation };

/** How a frame's rows and columns are halved: by bilinear interpolation, rounding up, or to means of two, rounding down. */
export type Pooling = 'bilinear' | 'average';

/** An embedding [width] behind each row of a frame, or behind each frame. */
export type Newline = { readonly behind: 'rows' | 'frames'; readonly weight: TensorLocation };

/**
 * LLaVA-OneVision's and LLaVA-Video's: two linear layers, then each frame is pooled.
 * @param side patches of a row and of a column
 */
export function mlpPooled(
  side: number,
  layers: TwoLayers,
  pooling: Pooling = 'bilinear',
  newline?: Newline,
): Connector {
  const { up, down, activation } = layers;
  const matrix = pooling === 'bilinear' ? bilinear(side, Math.ceil(side / 2)) : means(side);
  const pooled = matrix.length / side;
  const width = down.weight.shape[0]!;
  const inputs = up.weight.shape[1]!;
  const rows = newline?.behind === 'rows' ? pooled + 1 : pooled;
  const count = pooled * rows + (newline?.behind === 'frames' ? 1 : 0);
  return {
    count,
    grid: newline?.behind === 'frames' ? [1, count] : [pooled, rows],
    width,
    tensors: tensorsIn([up, down, newline?.weight]),
    ...(!newline && {
      pool(graph, attention) {
        const flat = graph.node('Reshape', [attention, graph.integers([-1, 1])]);
        const squares = pool(graph, flat, graph.floats(matrix, [pooled, side]), [pooled, side, 1]);
        return graph.node('Reshape', [squares, graph.integers([-1, count])]);
      },
    }),
    add(graph, tokens) {
      const products = new LinearProducts(graph, undefined);
      const flat = graph.node('Reshape', [tokens, graph.integers([-1, inputs])]);
      const hidden = activate(graph, activation, products.linear(flat, up));
      const squares = pool(graph, products.linear(hidden, down), graph.floats(matrix, [pooled, side]), [
        pooled,
        side,
        width,
      ]);
      const lines = newline?.behind === 'frames' ? [-1, pooled * pooled, width] : [-1, pooled, width];
      const ended = newline ? withNewline(graph, squares, newline.weight, lines) : squares;
      return graph.node('Reshape', [ended, graph.integers([-1, count, width])]);
    },
  };
}

/** Values [n·side², width] pooled to [n, pooled, pooled, width]: as products with a matrix, for rows, then for columns. */
function pool(
  graph: GraphBuilder,
  values: string,
  matrix: string,
  [pooled, side, width]: readonly [number, number, number],
): string {
  const rows = graph.node('Reshape', [values, graph.integers([-1, side, side * width])]);
  const fewer = graph.node('MatMul', [matrix, rows]);
  const columns = graph.node('Reshape', [fewer, graph.integers([-1, pooled, side, width])]);
  return graph.node('MatMul', [matrix, columns]);
}

/** Lines of embeddings, each with the same one behind it. */
function withNewline(graph: GraphBuilder, values: string, weight: TensorLocation, lines: readonly number[]): string {
  const split = graph.node('Reshape', [values, graph.integers(lines)]);
  const count = graph.node('Shape', [split], { start: 0, end: 1 });
  const one = graph.node('Concat', [count, graph.integers([1, lines[2]!])], { axis: 0 });
  const repeated = graph.node('Expand', [graph.weight(weight), one]);
  return graph.node('Concat', [split, repeated], { axis: 1 });
}

/** The means of two values each, [floor(from / 2), from]. */
function means(from: number): Float32Array {
  const to = Math.floor(from / 2);
  const matrix = new Float32Array(from * to);
  for (let row = 0; row < to; row++) matrix.fill(0.5, row * from + 2 * row, row * from + 2 * row + 2);
  return matrix;
}

/** What each of `to` values takes of `from` values, [to, from], where pixels are areas: the middle of the first lies at half. */
export function bilinear(from: number, to: number): Float32Array {
  const matrix = new Float32Array(from * to);
  for (let row = 0; row < to; row++) {
    const place = Math.max(0, ((row + 0.5) * from) / to - 0.5);
    const before = Math.floor(place);
    const after = Math.min(before + 1, from - 1);
    matrix[row * from + before]! += 1 - (place - before);
    matrix[row * from + after]! += place - before;
  }
  return matrix;
}
