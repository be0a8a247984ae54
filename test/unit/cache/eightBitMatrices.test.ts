import { join } from 'node:path';
import { expect, test } from 'vitest';
import { numberToHalf } from '../../../dist/base/tensor.js';
import { toEightBits } from '../../../dist/cache/eightBitMatrices.js';
import { listWeights } from '../../../dist/cache/weightsCache.js';
import { openSafetensors, readTensor, type TensorData, writeSafetensors } from '../../../dist/files/safetensors.js';
import type { TensorLocation } from '../../../dist/files/tensorFile.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const folder = await temporaryFolder();
// No multiples of anything, more than are read at once, and one output that is all zeros.
const [outputs, inputs] = [4100, 130];
const weights = Float32Array.from({ length: outputs * inputs }, (_, i) =>
  i < inputs ? 0 : Math.sin(i) * (1 + Math.floor(i / inputs)),
);

async function matrixOf(name: string, matrix: TensorData): Promise<TensorLocation> {
  const file = join(folder, `${name}.safetensors`);
  await writeSafetensors(file, { matrix });
  return (await openSafetensors(file)).tensors.get('matrix')!;
}

async function rounded(matrix: TensorLocation) {
  const { values, scales } = (await toEightBits([matrix], matrix.file)).get('matrix')!;
  const [integers, steps] = [(await readTensor(values)) as Int8Array, (await readTensor(scales)) as Float32Array];
  return { values, scales, integers, steps };
}

test.each(['F32', 'F16', 'BF16'] as const)(
  'rounds each output of a matrix in %s by a scale of its own',
  async (type) => {
    const bits = new Uint32Array(weights.buffer);
    const data = {
      F32: () => weights,
      F16: () => Uint16Array.from(weights, numberToHalf),
      BF16: () => Uint16Array.from(bits, (each) => each >>> 16),
    }[type]();
    // What the type had rounded away before.
    const lost = { F32: 2 ** -24, F16: 2 ** -11, BF16: 2 ** -7 }[type];
    const { values, scales, integers, steps } = await rounded(
      await matrixOf(type, { type, shape: [outputs, inputs], data }),
    );
    expect([values.shape, scales.shape]).toEqual([[inputs, outputs], [outputs]]);
    const wrong: number[] = [];
    for (let output = 0; output < outputs; output++) {
      let largest = 0;
      for (let input = 0; input < inputs; input++) {
        const [integer, weight] = [integers[input * outputs + output]!, weights[output * inputs + input]!];
        if (Math.abs(integer * steps[output]! - weight) > 0.501 * steps[output]! + Math.abs(weight) * lost)
          wrong.push(output);
        largest = Math.max(largest, Math.abs(integer));
      }
      // Two products with bytes fit into 16 bits, where CPUs without VNNI add them up.
      if (largest !== (output === 0 ? 0 : 63)) wrong.push(output);
    }
    expect(wrong).toEqual([]);
  },
);

test('rounds what is between two integers up, and takes the smallest numbers', async () => {
  const data = Float32Array.of(
    ...[63, 0.5, -0.5, 1.5, -1.5, 62.5, -62.5],
    // In units of 2^-149: the scale is a unit, and is rounded to nothing.
    ...[94, 1, -1, 33, -94, 0, 2].map((units) => units * 2 ** -149),
    ...[31, 1, -1, 30, -31, 0, 2].map((units) => units * 2 ** -149),
  );
  const { integers, steps } = await rounded(await matrixOf('halves', { type: 'F32', shape: [3, 7], data }));
  expect([...steps]).toEqual([1, 2 ** -149, 0]);
  const columns = [0, 1, 2].map((output) => [...integers].filter((_, at) => at % 3 === output));
  expect(columns).toEqual([
    [63, 1, 0, 2, -1, 63, -62],
    [94, 1, -1, 33, -94, 0, 2],
    [0, 0, 0, 0, 0, 0, 0],
  ]);
});

test('ends at an abort, and leaves nothing', async () => {
  const matrix = await matrixOf('aborted', { type: 'F32', shape: [outputs, inputs], data: weights.slice().fill(0.25) });
  const controller = new AbortController();
  const reason = new Error('enough');
  const before = await listWeights();
  const onProgress = () => setImmediate(() => controller.abort(reason));
  await expect(toEightBits([matrix], matrix.file, { signal: controller.signal, onProgress })).rejects.toBe(reason);
  expect(await listWeights()).toEqual(before);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])('refuses a matrix that holds %d', async (value) => {
  const data = Float32Array.of(1, 2, 3, value, 5, 6);
  const matrix = await matrixOf(`${value}`, { type: 'F32', shape: [2, 3], data });
  await expect(toEightBits([matrix], matrix.file)).rejects.toMatchObject({
    code: 'ERR_LONGVLM_WEIGHTS',
    message: expect.stringContaining(`${matrix.file}: tensor matrix holds NaN or infinity`),
  });
});
