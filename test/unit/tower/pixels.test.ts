import { expect, test } from 'vitest';
import { float32Tensor } from '../../../dist/base/tensor.js';
import { GraphBuilder } from '../../../dist/compute/graphBuilder.js';
import { ortRuntime } from '../../../dist/compute/runtime.js';
import { normalizedPixels } from '../../../dist/tower/pixels.js';
import { normalizeFrames } from '../../fixtures/vision/normalize.js';

test('normalizedPixels() gives every pixel value of every channel its place and its number, to the last bit', async () => {
  const rules = { mean: [0.1, 0.2, 0.3], std: [0.5, 0.25, 2], rescale: 1 / 255 } as const;
  const [frames, size] = [3, 16];
  const graph = new GraphBuilder('pixels');
  graph.output('planes', normalizedPixels(graph, size, rules), ['frames', 3, size, size]);
  const session = await ortRuntime({ device: 'cpu', threads: 1 }).open(await graph.build(), {
    name: 'Pixels',
    batch: 2,
  });
  try {
    // 768 pixels: each of the 256 values comes in each of the three channels.
    const data = Uint8Array.from(
      { length: frames * size * size * 3 },
      (_, index) => (Math.floor(index / 3) * 41 + 7 * (index % 3)) % 256,
    );
    const planes = float32Tensor(new Float32Array(data.length), [frames, 3, size, size]);
    const result = await session.run({ pixels: { type: 'uint8', data, dims: [frames, size, size, 3] } }, { planes });
    const expected = new Float32Array(data.length);
    normalizeFrames(data, expected, size, rules);
    expect(result.planes!.data).toEqual(expected);
  } finally {
    await session.dispose();
  }
});
