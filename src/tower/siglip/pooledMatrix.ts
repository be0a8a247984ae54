// What stands between Gemma 3's tower and its language model.
import type { TensorLocation } from '../../files/tensorFile.js';
import { shuffledMeans } from '../pixelShuffle.js';
import type { Connector } from './towerGraph.js';

/** A normalisation by the root of the mean square, and a matrix [C, width]. */
export type NormalizedMatrix = {
  readonly norm: TensorLocation;
  /** Whether the norm's weights are stored as what is above 1, as in Gemma's files. */
  readonly addsOne: boolean;
  readonly epsilon: number;
  readonly matrix: TensorLocation;
};

/**
 * Gemma 3's: squares of `factor` by `factor` patches are averaged, normalised and multiplied with one matrix.
 * @param side patches of a row and of a column, a multiple of `factor`
 */
export function pooledMatrix(side: number, factor: number, projector: NormalizedMatrix): Connector {
  const { norm, addsOne, epsilon, matrix } = projector;
  const [channels, width] = matrix.shape as [number, number];
  const squares = side / factor;
  return {
    count: squares * squares,
    grid: [squares, squares],
    width,
    tensors: [norm, matrix],
    pool: (graph, attention) => shuffledMeans(graph, attention, { side, factor }),
    add(graph, tokens) {
      const split = graph.integers([-1, squares, factor, squares, factor, channels]);
      const axes = graph.integers([2, 4]);
      const means = graph.node('ReduceMean', [graph.node('Reshape', [tokens, split]), axes], { keepdims: 0 });
      const flat = graph.node('Reshape', [means, graph.integers([-1, channels])]);
      const scale = addsOne ? graph.node('Add', [graph.weight(norm), graph.number(1)]) : graph.weight(norm);
      const attributes = { axis: -1, epsilon: { float: epsilon } };
      const normalized = graph.node('SimplifiedLayerNormalization', [flat, scale], attributes);
      const embeddings = graph.node('MatMul', [normalized, graph.weight(matrix)]);
      return graph.node('Reshape', [embeddings, graph.integers([-1, squares * squares, width])]);
    },
  };
}
