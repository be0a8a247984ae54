import { expect, test } from 'vitest';
import { normalizationTables, normalizeFrames } from '../../../dist/tower/preprocess.js';

test('normalizeFrames() normalises each channel and parts pixels into planes', () => {
  const tables = normalizationTables({ mean: [0.1, 0.2, 0.3], std: [0.5, 0.25, 2], rescale: 1 / 255 });
  const [frames, size] = [2, 3];
  const pixels = Uint8Array.from({ length: frames * size * size * 3 }, (_, index) => (index * 41) % 256);
  const planes = new Float32Array(pixels.length);
  normalizeFrames(pixels, planes, size, tables);
  for (let frame = 0; frame < frames; frame++)
    for (let channel = 0; channel < 3; channel++)
      for (let pixel = 0; pixel < size * size; pixel++) {
        const value = pixels[(frame * size * size + pixel) * 3 + channel]! / 255;
        const expected = (value - [0.1, 0.2, 0.3][channel]!) / [0.5, 0.25, 2][channel]!;
        expect(planes[(frame * 3 + channel) * size * size + pixel]).toBeCloseTo(expected, 6);
      }
});
