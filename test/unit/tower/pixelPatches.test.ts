import { describe, expect, test } from 'vitest';
import { type Float32Tensor, float32Tensor } from '../../../dist/base/tensor.js';
import { GraphBuilder } from '../../../dist/compute/graphBuilder.js';
import { ortRuntime, type Values } from '../../../dist/compute/runtime.js';
import type { PixelNormalization } from '../../../dist/index.js';
import { openTower } from '../../../dist/tower/families.js';
import { pixelPatches } from '../../../dist/tower/pixelPatches.js';
import { pico } from '../../fixtures/index.js';
import { normalizeFrames } from '../../fixtures/vision/normalize.js';

const rules = { mean: [0.1, 0.2, 0.3], std: [0.5, 0.25, 2], rescale: 1 / 255 } as const;
const frames = 3;

/** Bytes [n, S, S, 3] in which, for S of 16 and more, each of the 256 values comes in each of the three channels. */
function bytes(size: number): Uint8Array {
  return Uint8Array.from(
    { length: frames * size * size * 3 },
    (_, index) => (Math.floor(index / 3) * 41 + 7 * (index % 3)) % 256,
  );
}

/** What a convolution sees at each of its places: the values of `planes` [n, 3, S, S], channels last. */
function windows(planes: Float32Array, size: number, patch: number): number[] {
  const side = Math.floor(size / patch);
  const values: number[] = [];
  for (let frame = 0; frame < frames; frame++)
    for (let place = 0; place < side * side; place++)
      for (let pixel = 0; pixel < patch * patch; pixel++)
        for (let channel = 0; channel < 3; channel++) {
          const y = Math.floor(place / side) * patch + Math.floor(pixel / patch);
          const x = (place % side) * patch + (pixel % patch);
          values.push(planes[((frame * 3 + channel) * size + y) * size + x]!);
        }
  return values;
}

async function run(size: number, patch: number, pixels: Values[string], normalization: PixelNormalization | undefined) {
  const graph = new GraphBuilder('patches');
  const rows = frames * Math.floor(size / patch) ** 2;
  const { patches } = pixelPatches(graph, { imageSize: size, patchSize: patch }, normalization);
  const flat = graph.node('Reshape', [patches, graph.integers([frames, -1])]);
  graph.output('patches', flat, [frames, 'values']);
  const session = await ortRuntime({ device: 'cpu', threads: 1 }).open(await graph.build(), { name: 'Patches' });
  try {
    const values = new Float32Array(rows * patch * patch * 3);
    const outputs = { patches: float32Tensor(values, [frames, values.length / frames]) };
    return [...(await session.run({ pixels }, outputs)).patches!.data];
  } finally {
    await session.dispose();
  }
}

describe('pixelPatches()', () => {
  // 18 = 4 · 4 + 2: what does not fill a patch is left out, as a convolution leaves it.
  test.each([
    [16, 8],
    [18, 4],
    [3, 3],
  ])(
    'gives every value its place and its number, to the last bit: frames of %i, patches of %i',
    async (size, patch) => {
      const data = bytes(size);
      const planes = new Float32Array(data.length);
      normalizeFrames(data, planes, size, rules);
      const expected = windows(planes, size, patch);
      const raw = { type: 'uint8', data, dims: [frames, size, size, 3] } as const;
      expect(await run(size, patch, raw, rules)).toEqual(expected);
      const normalized: Float32Tensor = float32Tensor(planes, [frames, 3, size, size]);
      expect(await run(size, patch, normalized, undefined)).toEqual(expected);
    },
  );

  test('leaves no convolution in the graph of a tower', async () => {
    const tower = await openTower(pico.clip);
    for (const input of ['uint8', 'float32'] as const)
      expect(Buffer.from((await tower.graph({ input })).bytes).includes('Conv')).toBe(false);
  });
});
