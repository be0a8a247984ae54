import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { Float32Tensor } from '../../dist/base/tensor.js';
import { VisionEncoder, type VisionEncoderOptions } from '../../dist/encode/visionEncoder.js';
import { expected, pico, relativeError } from '../fixtures/index.js';
import {
  convert,
  geluClip,
  geluClipExpected,
  loadTensors,
  type Tensors,
  temporaryFolder,
  tensorOf,
  writeClip,
} from '../fixtures/vision/index.js';

const folder = await temporaryFolder();
const weights = await loadTensors(join(pico.clip, 'model.safetensors'));
const pixels = await expected('pixel_values_crop');

// As `--vision-precision int8` writes into it.
const before = process.env.LONGVLM_CACHE;
process.env.LONGVLM_CACHE = join(folder, 'cache');
afterAll(() => {
  if (before === undefined) delete process.env.LONGVLM_CACHE;
  else process.env.LONGVLM_CACHE = before;
});

async function changed(name: string, change: (name: string, tensor: Tensors[string]) => Tensors[string]) {
  const path = join(folder, name);
  await mkdir(path);
  const tensors = Object.fromEntries(Object.entries(weights).map(([key, tensor]) => [key, change(key, tensor)]));
  return writeClip(path, tensors, pico.clip);
}

async function forward(path: string, options: Partial<VisionEncoderOptions> = {}, frames: Float32Tensor = pixels) {
  const encoder = await VisionEncoder.create({ path, precision: 'float16', threads: 1, ...options });
  try {
    const { patches, cls } = await encoder.forward(frames);
    return { patches: patches.data, cls: cls.data, identity: encoder.identity };
  } finally {
    await encoder.dispose();
  }
}

describe('the tower in half precision', () => {
  // Half of a step of float16 is 2^-11 = 5e-4 of a value; transformers in float16 differs by 2.5e-3 from itself in float32.
  test("gives the reference's patches and cls within half precision", async () => {
    const { patches, cls } = await forward(pico.clip);
    for (const [actual, name] of [
      [patches, 'patches'],
      [cls, 'cls'],
    ] as const) {
      const error = relativeError(actual, (await expected(name)).data);
      expect(error).toBeLessThan(5e-3);
      expect(error, 'values were really rounded').toBeGreaterThan(1e-4);
    }
  });

  test('gives those of another shape, with GELU', async () => {
    const { patches } = await forward(geluClip, { globalLayers: 1 }, await tensorOf(geluClipExpected, 'pixels'));
    expect(relativeError(patches, (await tensorOf(geluClipExpected, 'patches')).data)).toBeLessThan(5e-3);
  });

  test('rounds weights that are not in float16 as they would have been stored', async () => {
    const path = await changed('stored', (_, tensor) => convert(tensor, 'F16'));
    const [rounded, stored] = [await forward(pico.clip), await forward(path)];
    expect(rounded.patches).toEqual(stored.patches);
    expect(rounded.cls).toEqual(stored.cls);
    const bfloat = await forward(await changed('bfloat', (_, tensor) => convert(tensor, 'BF16')));
    // Half of a step of BF16 is 2^-9.
    expect(relativeError(bfloat.patches, stored.patches)).toBeLessThan(2e-2);
  });

  test('has an identity of its own for each precision', async () => {
    const identities = [];
    for (const precision of ['float16', 'float16', 'float32', 'int8'] as const)
      identities.push((await forward(pico.clip, { precision })).identity);
    expect(identities[1]).toBe(identities[0]);
    expect(new Set(identities).size).toBe(3);
  });

  test.each([
    [65519, undefined],
    [
      -65520,
      /tensor encoder\.layers\.0\.mlp\.fc2\.bias holds -65520, above 65504, the largest number of float16\. Use/,
    ],
    [Number.POSITIVE_INFINITY, /holds Infinity, above 65504/],
  ])('takes weights that float16 can hold, and no others: %d', async (value, message) => {
    const path = await changed(`${value}`, (name, tensor) => {
      if (name !== 'encoder.layers.0.mlp.fc2.bias') return tensor;
      return { ...tensor, data: Float32Array.from(tensor.data as Float32Array).fill(value, 1, 2) };
    });
    const created = VisionEncoder.create({ path, precision: 'float16', threads: 1, lazy: true });
    if (message)
      await expect(created).rejects.toMatchObject({
        code: 'ERR_LONGVLM_WEIGHTS',
        message: expect.stringMatching(message),
      });
    else await (await created).dispose();
  });
});

describe('precision and device', () => {
  test('int8 is refused on cuda, before anything is read, and takes the CPU by itself', async () => {
    await expect(VisionEncoder.create({ path: '/nowhere', precision: 'int8', device: 'cuda' })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_UNSUPPORTED',
      message:
        'Precision int8 does not run on cuda: its products would go back to the CPU. Use float16 there, or device cpu.',
    });
    const encoder = await VisionEncoder.create({ path: pico.clip, precision: 'int8', device: 'auto', threads: 1 });
    expect(encoder.device).toBe('cpu');
    await encoder.dispose();
  });
});
