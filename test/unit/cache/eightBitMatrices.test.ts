import { join } from 'node:path';
import { expect, test } from 'vitest';
import { numberToHalf } from '../../../dist/base/tensor.js';
import { toEightBits } from '../../../dist/cache/eightBitMatrices.js';
import { openSafetensors, readTensor, writeSafetensors } from '../../../dist/files/safetensors.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const folder = await temporaryFolder();
// No multiples of anything, and one output that is all zeros.
const [outputs, inputs] = [70, 130];
const weights = Float32Array.from({ length: outputs * inputs }, (_, i) =>
  i < inputs ? 0 : Math.sin(i) * (1 + Math.floor(i / inputs)),
);

test.each(['F32', 'F16'] as const)('rounds each output of a matrix in %s by a scale of its own', async (type) => {
  const file = join(folder, `${type}.safetensors`);
  const data = type === 'F32' ? weights : Uint16Array.from(weights, numberToHalf);
  await writeSafetensors(file, { matrix: { type, shape: [outputs, inputs], data } });
  const { tensors } = await openSafetensors(file);
  const { values, scales } = (await toEightBits([tensors.get('matrix')!], file)).get('matrix')!;
  expect([values.shape, scales.shape]).toEqual([[inputs, outputs], [outputs]]);
  const [integers, steps] = [(await readTensor(values)) as Int8Array, (await readTensor(scales)) as Float32Array];
  for (let output = 0; output < outputs; output++) {
    let largest = 0;
    for (let input = 0; input < inputs; input++) {
      const [integer, weight] = [integers[input * outputs + output]!, weights[output * inputs + input]!];
      // Half a step, and what float16 had rounded away before.
      expect(Math.abs(integer * steps[output]! - weight)).toBeLessThanOrEqual(
        0.501 * steps[output]! + Math.abs(weight) / 2048,
      );
      largest = Math.max(largest, Math.abs(integer));
    }
    // Two products with bytes fit into 16 bits, where CPUs without VNNI add them up.
    expect(2 * 255 * largest).toBeLessThan(2 ** 15);
    expect(largest).toBe(output === 0 ? 0 : 63);
  }
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])('refuses a matrix that holds %d', async (value) => {
  const file = join(folder, `${value}.safetensors`);
  const data = Float32Array.of(1, 2, 3, value, 5, 6);
  await writeSafetensors(file, { matrix: { type: 'F32', shape: [2, 3], data } });
  const { tensors } = await openSafetensors(file);
  await expect(toEightBits([tensors.get('matrix')!], file)).rejects.toMatchObject({
    code: 'ERR_LONGVLM_WEIGHTS',
    message: expect.stringContaining(`${file}: tensor matrix holds NaN or infinity`),
  });
});
