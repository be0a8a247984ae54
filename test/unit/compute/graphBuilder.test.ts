import { mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { float32Tensor, halfToNumber, numberToHalf } from '../../../dist/base/tensor.js';
import { type Attribute, GraphBuilder } from '../../../dist/compute/graphBuilder.js';
import { dataTypes } from '../../../dist/compute/onnxProto.js';
import { OrtSession } from '../../../dist/compute/ortSession.js';
import { openSafetensors, writeSafetensors } from '../../../dist/files/safetensors.js';
import type { TensorLocation } from '../../../dist/files/tensorFile.js';
import { runGraph } from '../../fixtures/graphs.js';
import { convert, type Tensors, temporaryFolder } from '../../fixtures/vision/index.js';

const folder = await temporaryFolder();
// Wide enough (ONNX Runtime maps large tensors and reads small ones) and exact in F16 and BF16.
const [rows, columns] = [128, 256];
const weight = { type: 'F32' as const, shape: [rows, columns], data: new Float32Array(rows * columns) };
for (const index of weight.data.keys()) weight.data[index] = ((index * 37) % 17) - 8;
const input = float32Tensor(
  new Float32Array(columns).map((_, index) => (index % 5) - 2),
  [1, columns],
);
const product = Array.from({ length: rows }, (_, row) =>
  input.data.reduce((sum, value, column) => sum + value * weight.data[row * columns + column]!, 0),
);

async function multiply(locations: readonly TensorLocation[], attributes: Record<string, Attribute> = { transB: 1 }) {
  const graph = new GraphBuilder('test');
  const x = graph.input('x', ['n', columns]);
  for (const [index, location] of locations.entries())
    graph.output(`y${index}`, graph.node('Gemm', [x, graph.weight(location)], attributes), ['n', rows]);
  const dims = Object.fromEntries(locations.map((_, index) => [`y${index}`, [1, rows]]));
  return runGraph(await graph.build(), { x: input }, dims);
}

async function written(name: string, tensors: Tensors): Promise<TensorLocation> {
  const path = join(folder, name);
  await writeSafetensors(path, tensors);
  return (await openSafetensors(path)).tensors.get('weight')!;
}

describe('GraphBuilder', () => {
  test('runs over a weight in place, without a file beside it', async () => {
    const location = await written('plain.safetensors', { weight });
    const { y0 } = await multiply([location]);
    expect([...y0!.data]).toEqual(product);
    expect(y0!.dims).toEqual([1, rows]);
  });

  test.each(['F16', 'BF16'] as const)('widens %s', async (type) => {
    const location = await written(`${type}.safetensors`, { weight: convert(weight, type) });
    expect([...(await multiply([location])).y0!.data]).toEqual(product);
  });

  test.each([1, 2, 3, 4095])('takes a weight that lies %i bytes off', async (shift) => {
    const location = await written('shifted.safetensors', { weight });
    const bytes = await readFile(location.file);
    await writeFile(location.file, Buffer.concat([Buffer.alloc(shift), bytes]));
    const shifted = { ...location, offset: location.offset + shift };
    expect([...(await multiply([shifted])).y0!.data]).toEqual(product);
  });

  test('follows symbolic links, and takes files from several folders', async () => {
    const first = await written('linked.safetensors', { weight });
    await mkdir(join(folder, 'blobs/deep'), { recursive: true });
    await mkdir(join(folder, 'snapshot'));
    await rename(first.file, join(folder, 'blobs/deep/1234'));
    await symlink('../blobs/deep/1234', join(folder, 'snapshot/model.safetensors'));
    const linked = (await openSafetensors(join(folder, 'snapshot/model.safetensors'))).tensors.get('weight')!;
    const other = { ...(await written('other.safetensors', { weight })), name: 'other' };
    const { y0, y1 } = await multiply([linked, other]);
    expect([...y0!.data]).toEqual(product);
    expect([...y1!.data]).toEqual(product);
  });

  test('stays a few kilobytes, whatever the weights take', async () => {
    const location = await written('small.safetensors', { weight });
    const graph = new GraphBuilder('test');
    graph.output('y', graph.node('Gemm', [graph.input('x', ['n', columns]), graph.weight(location)], { transB: 1 }), [
      'n',
      rows,
    ]);
    expect((await graph.build()).bytes.length).toBeLessThan(1024);
  });

  test('looks up bytes in a table of float32 values', async () => {
    // Of a view: what lies around it does not belong to the table.
    const values = new Float32Array(258).map((_, index) => (index - 1) / 7 - 3);
    const graph = new GraphBuilder('lookup');
    const bytes = graph.input('bytes', ['n', 3], 'uint8');
    const table = graph.floats(values.subarray(1, 257), [256]);
    values.fill(0);
    const found = graph.node('Gather', [table, graph.node('Cast', [bytes], { to: dataTypes.I32 })]);
    graph.output('found', found, ['n', 3]);
    const data = Uint8Array.of(0, 1, 7, 127, 128, 255);
    const inputs = { bytes: { type: 'uint8' as const, data, dims: [2, 3] } };
    const { found: result } = await runGraph(await graph.build(), inputs, { found: [2, 3] });
    expect(result).toEqual(
      float32Tensor(
        Float32Array.from(data, (value) => value / 7 - 3),
        [2, 3],
      ),
    );
  });

  // Each of the two operators rounds by at most 2^-11, or not at all where the device computes in float32.
  test.each(['F16', 'BF16', 'F32'] as const)(
    'computes with %s in float16, between inputs and outputs in float32',
    async (type) => {
      const location = await written(`half-${type}.safetensors`, {
        weight: type === 'F32' ? weight : convert(weight, type),
      });
      const graph = new GraphBuilder('half', { precision: 'float16' });
      const gemm = graph.node('Gemm', [graph.input('x', ['n', columns]), graph.weight(location)], { transB: 1 });
      graph.output('y', graph.node('Mul', [gemm, graph.number(1 / 3)]), ['n', rows]);
      const { bytes, weightsFolder } = await graph.build();
      // Nothing but the input and the output is converted where the weight is stored in half precision.
      expect(Buffer.from(bytes).toString('latin1').split('Cast/').length - 1).toBe(type === 'F16' ? 2 : 3);
      const { y } = await runGraph({ bytes, weightsFolder }, { x: input }, { y: [1, rows] });
      const third = halfToNumber(numberToHalf(1 / 3));
      for (const [index, value] of product.entries())
        expect(Math.abs(y!.data[index]! - value * third)).toBeLessThanOrEqual(Math.abs(value * third) * 2 ** -10);
    },
  );

  test('omits outputs that are not wanted', async () => {
    const graph = new GraphBuilder('places');
    const x = graph.input('x', ['n', 4]);
    const ones = graph.floats(Float32Array.of(1, 1, 1, 1), [4]);
    // Its outputs: normalised values, mean, 1 / deviation.
    const [normalized, inverse] = graph.nodes('LayerNormalization', [x, ones], [0, 2], { epsilon: { float: 0 } });
    graph.output('normalized', normalized!, ['n', 4]);
    graph.output('inverse', inverse!, ['n', 1]);
    const given = float32Tensor(Float32Array.of(-3, -1, 1, 3), [1, 4]);
    const outputs = await runGraph(await graph.build(), { x: given }, { normalized: [1, 4], inverse: [1, 1] });
    const deviation = Math.sqrt(5);
    expect(outputs.inverse!.data[0]).toBeCloseTo(1 / deviation, 6);
    expect(outputs.normalized!.data[3]).toBeCloseTo(3 / deviation, 6);
    const outputsOf = (places: number[]) => graph.nodes('LayerNormalization', [x, ones], places);
    expect(() => outputsOf([1, 1])).toThrow(/between 2 and 65536 for outputs\[1\] but received 1/);
    expect(() => outputsOf([])).toThrow(/for outputs\.length/);
  });

  test('tells constants apart by their bits, and keeps each once', async () => {
    const graph = new GraphBuilder('constants');
    expect(graph.floats(Float32Array.of(0), [])).not.toBe(graph.floats(Float32Array.of(-0), []));
    expect(graph.floats(Float32Array.of(1, 2), [2])).not.toBe(graph.floats(Float32Array.of(1, 2), [1, 2]));
    expect(graph.number(3)).toBe(graph.floats(Float32Array.of(3), []));
  });

  test('refuses a type that ONNX cannot hold, and a file that is gone', async () => {
    const location = await written('gone.safetensors', { weight });
    await expect(multiply([{ ...location, type: 'Q4_0' }])).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: `${location.file}: tensor weight is of type Q4_0, which cannot be run. Convert it to F32, F16 or BF16.`,
    });
    await rm(location.file);
    await expect(multiply([location])).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
      message: expect.stringMatching(/gone\.safetensors does not exist/),
    });
  });
});

describe('OrtSession', () => {
  test('turns failures of ONNX Runtime into LongVLMErrors with their cause', async () => {
    const location = await written('wide.safetensors', { weight });
    await expect(multiply([location], { transB: 0 })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_INFERENCE',
      message: expect.stringMatching(/^ONNX Runtime (cannot load the model|failed) on cpu: /),
      cause: expect.any(Error),
    });
  });

  test('says how a device comes whose library is not installed, and refuses one that is not there', async () => {
    const model = { bytes: new Uint8Array(), weightsFolder: undefined };
    const unsupported = (device: string) =>
      expect(OrtSession.load(model, { device, threads: 1 })).rejects.toMatchObject({
        code: 'ERR_LONGVLM_UNSUPPORTED',
        message: expect.stringMatching(
          device === 'cuda' && process.platform === 'linux' && process.arch === 'x64'
            ? /^Device 'cuda' needs a library that is not installed\. Install onnxruntime-node /
            : /^Device '.*' is not available in this build of ONNX Runtime: use auto or one of cpu/,
        ),
      });
    await unsupported('cuda');
    await unsupported('abacus');
  });

  test('names the library that cannot be used, and the remedy', async () => {
    const model = { bytes: new Uint8Array(), weightsFolder: undefined };
    const text = join(folder, 'library.so');
    await writeFile(text, 'no library');
    try {
      for (const path of [text, join(folder, 'nowhere')]) {
        process.env.LONGVLM_ONNXRUNTIME = path;
        await expect(OrtSession.load(model, { device: 'cpu', threads: 1 })).rejects.toMatchObject({
          code: 'ERR_LONGVLM_UNSUPPORTED',
          message: expect.stringMatching(new RegExp(`${path}.*(Correct|Give).*path`)),
        });
      }
    } finally {
      delete process.env.LONGVLM_ONNXRUNTIME;
    }
  });
});
