import { GraphBuilder, type OnnxModel } from './graphBuilder.js';

/** A graph that makes `values` [rows, channels] float32 of `halves`, the same in float16: for those in a GPU's memory. */
export function wideningGraph(channels: number): Promise<OnnxModel> {
  const graph = new GraphBuilder('widening', { precision: 'float16' });
  const dims = ['rows', channels];
  graph.output('values', graph.input('halves', dims, 'float16'), dims);
  return graph.build();
}
