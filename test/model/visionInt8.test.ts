import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { VisionEncoder } from '../../dist/vision/encoder.js';
import { cosine, expected, pico } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

const folder = await temporaryFolder();

describe('the tower in eight bits', () => {
  test("gives nearly the reference's patches, under an identity of its own", async () => {
    const before = process.env.LONGVLM_CACHE;
    process.env.LONGVLM_CACHE = join(folder, 'cache');
    try {
      const load = (precision: 'float32' | 'int8') =>
        VisionEncoder.create({ path: pico.clip, precision, globalLayers: 1, threads: 1 });
      const [whole, rounded, again] = [await load('float32'), await load('int8'), await load('int8')];
      const { patches } = await rounded.forward(await expected('pixel_values_crop'));
      const similarity = cosine(patches.data, (await expected('patches')).data);
      expect(similarity).toBeGreaterThan(0.99);
      // Rounding shows, or nothing would be rounded.
      expect(similarity).toBeLessThan(0.99999);
      expect(rounded.identity).not.toBe(whole.identity);
      expect(again.identity).toBe(rounded.identity);
      await Promise.all([whole.dispose(), rounded.dispose(), again.dispose()]);
    } finally {
      if (before === undefined) delete process.env.LONGVLM_CACHE;
      else process.env.LONGVLM_CACHE = before;
    }
  });
});
