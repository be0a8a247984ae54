// What stands between a SigLIP tower and a language model: linear layers, before pooling or behind a pixel shuffle.
import { type Activation, activate } from '../../compute/activations.js';
import type { GraphBuilder } from '../../compute/graphBuilder.js';
import type { TensorLocation } from '../../files/tensorFile.js';
import { pixelShuffle } from '../pixelShuffle.js';
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
    width,
    tensors: [weight],
    add(graph, tokens) {
      const joined = pixelShuffle(graph, tokens, { side, channels: inputs / scale / scale, factor: scale });
      const embeddings = new LinearProducts(graph, undefined).linear(joined, { weight });
      return graph.node('Reshape', [embeddings, graph.integers([-1, squares * squares, width])]);
    },
  };
}

/** Two linear layers with an activation between them. */
export type TwoLayers = { readonly up: Affine; readonly down: Affine; readonly activation: Activation };

/**
 * LLaVA-OneVision's: two linear layers, then rows and columns are halved, rounding up, by bilinear interpolation without
 * antialiasing.
 * @param side patches of a row and of a column
 */
export function mlpPooled(side: number, { up, down, activation }: TwoLayers): Connector {
  const pooled = Math.ceil(side / 2);
  const width = down.weight.shape[0]!;
  const inputs = up.weight.shape[1]!;
  return {
    count: pooled * pooled,
    width,
    tensors: tensorsIn([up, down]),
    add(graph, tokens) {
      const products = new LinearProducts(graph, undefined);
      const flat = graph.node('Reshape', [tokens, graph.integers([-1, inputs])]);
      const hidden = activate(graph, activation, products.linear(flat, up));
      const embeddings = products.linear(hidden, down);
      return halved(graph, embeddings, side, pooled, width);
    },
  };
}

/** Values [n·side², width] pooled to [n, pooled², width]: as products with a matrix, for rows, then for columns. */
function halved(graph: GraphBuilder, values: string, side: number, pooled: number, width: number): string {
  const matrix = graph.floats(bilinear(side, pooled), [pooled, side]);
  const rows = graph.node('Reshape', [values, graph.integers([-1, side, side * width])]);
  const fewer = graph.node('MatMul', [matrix, rows]);
  const columns = graph.node('Reshape', [fewer, graph.integers([-1, pooled, side, width])]);
  const squares = graph.node('MatMul', [matrix, columns]);
  return graph.node('Reshape', [squares, graph.integers([-1, pooled * pooled, width])]);
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
