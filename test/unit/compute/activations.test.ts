import { expect, test } from 'vitest';
import { float32Tensor } from '../../../dist/base/tensor.js';
import { activate, activations } from '../../../dist/compute/activations.js';
import { GraphBuilder } from '../../../dist/compute/graphBuilder.js';
import { runGraph } from '../../fixtures/graphs.js';

const values = Float32Array.from({ length: 257 }, (_, index) => (index - 128) / 8);

test.each(activations)('%s runs in half precision, too', async (activation) => {
  const results = [];
  for (const precision of ['float32', 'float16'] as const) {
    const graph = new GraphBuilder('activation', { precision });
    graph.output('y', activate(graph, activation, graph.input('x', ['n'])), ['n']);
    const x = float32Tensor(values, [values.length]);
    results.push((await runGraph(await graph.build(), { x }, { y: [values.length] })).y!.data);
  }
  const [single, half] = results;
  // A few roundings: most activations are several operators.
  for (const [index, value] of single!.entries())
    expect(Math.abs(half![index]! - value)).toBeLessThanOrEqual(2e-3 * Math.max(1, Math.abs(value)));
});
