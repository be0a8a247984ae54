import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { float32Tensor } from '../../dist/base/tensor.js';
import { VisionEncoder } from '../../dist/encode/visionEncoder.js';
import { cosine, expected, pico } from '../fixtures/index.js';
import { loadTensors, type Tensors, temporaryFolder, writeClip } from '../fixtures/vision/index.js';

const folder = await temporaryFolder();

const nano = fileURLToPath(new URL('../../models/nano/clip', import.meta.url));
const [size, channels, layers] = [112, 160, 5];
const pixels = float32Tensor(
  Float32Array.from({ length: 3 * size * size }, (_, i) => Math.sin(i / 97) + 0.3 * Math.sin(i * 1.7)),
  [1, 3, size, size],
);

/** nano's tower, changed. */
async function changed(name: string, change: (values: (tensor: string) => Float32Array) => void): Promise<string> {
  const path = join(folder, name);
  await mkdir(path);
  const tensors: Tensors = await loadTensors(join(nano, 'model.safetensors'));
  change((tensor) => tensors[tensor]!.data as Float32Array);
  return writeClip(path, tensors, nano);
}

async function patches(path: string, precision: 'float32' | 'int8'): Promise<Float32Array> {
  const encoder = await VisionEncoder.create({ path, precision, globalLayers: 1, threads: 1 });
  try {
    return (await encoder.forward(pixels)).patches.data;
  } finally {
    await encoder.dispose();
  }
}

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

  // As trained towers have it: a feature that one token alone has, and hundreds of times as large as all others.
  test('keeps the digits of other tokens beside a token that is far larger', async () => {
    const path = await changed('outlier', (values) => {
      values('embeddings.class_embedding')[0]! += 100;
      for (let layer = 0; layer < layers; layer++) {
        const mlp = `encoder.layers.${layer}.mlp`;
        values(`${mlp}.fc1.weight`).fill(0, 0, channels);
        values(`${mlp}.fc1.weight`)[0] = 100;
        values(`${mlp}.fc1.bias`)[0] = -500;
        const down = values(`${mlp}.fc2.weight`);
        for (let output = 0; output < channels; output++) down[output * (down.length / channels)] = 0.001;
      }
    });
    expect(cosine(await patches(path, 'int8'), await patches(path, 'float32'))).toBeGreaterThan(0.999);
  });

  test('takes tokens of zeros', async () => {
    const path = await changed('zeros', (values) => {
      for (const of of ['weight', 'bias']) values(`encoder.layers.1.layer_norm1.${of}`).fill(0);
    });
    expect(cosine(await patches(path, 'int8'), await patches(path, 'float32'))).toBeGreaterThan(0.999);
  });
});
