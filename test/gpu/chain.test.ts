// A segment goes from the tower to the projector in the memory of a GPU: here the emulated one, which writes down every
// copy. On a real GPU scripts for it count them.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { LongVLMError } from '../../dist/base/errors.js';
import { type Float32Tensor, float32Tensor } from '../../dist/base/tensor.js';
import { GraphBuilder } from '../../dist/compute/graphBuilder.js';
import { OrtSession } from '../../dist/compute/ortSession.js';
import { type GraphSession, ortRuntime } from '../../dist/compute/runtime.js';
import { mergingTokens } from '../../dist/kernels/deviceOperation.js';
import { DeviceBuffer, mergeTokens, poolClsTokens } from '../../dist/kernels/index.js';
import { openProjector } from '../../dist/projector/registry.js';
import { openTower } from '../../dist/tower/families.js';
import { pico } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';
import { useCudaLibrary } from './cudaLibrary.js';

const runtime = ortRuntime({ threads: 1 });
const frames = 6;
let tower: GraphSession;
let projector: GraphSession;
let shapes: { size: number; patches: number; channels: number; layers: number; heads: number; width: number };

beforeAll(async () => {
  await useCudaLibrary();
  const vision = await openTower(pico.clip);
  const projection = await openProjector(pico.projector);
  const { imageSize: size, patches, channels, summaries: layers, heads } = vision.config;
  shapes = { size, patches, channels, layers, heads, width: projection.outChannels };
  tower = await runtime.open(await vision.graph({ input: 'uint8' }), { name: 'The tower', batch: 2 });
  projector = await runtime.open(await projection.graph(), { name: 'The projector' });
}, 900_000);
afterAll(() => Promise.all([tower.dispose(), projector.dispose()]));

const empty = (...dims: number[]) => float32Tensor(new Float32Array(dims.reduce((a, b) => a * b)), dims);

test('with every intermediate on the device, a segment gives what it gives on the host', async () => {
  const { size, patches, channels, layers, heads, width } = shapes;
  const keep = 5;
  const pixels = {
    type: 'uint8' as const,
    data: Uint8Array.from({ length: frames * size * size * 3 }, (_, i) => (i * 7919) % 251),
    dims: [frames, size, size, 3],
  };

  const outputs = { patches: empty(frames, patches, channels), summaries: empty(frames, layers, channels) };
  const encoded = await tower.run({ pixels }, outputs);
  const tokens = { ...encoded.patches, dims: [1, frames * patches, channels] };
  const local = (await mergeTokens(tokens, { heads, keep })).tokens as Float32Tensor;
  const global = (await poolClsTokens(encoded.summaries)) as Float32Tensor;
  const features = float32Tensor(Float32Array.of(...global.data, ...local.data), [layers + keep, channels]);
  const { embeddings: wanted } = await projector.run({ features }, { embeddings: empty(layers + keep, width) });

  const log = join(await temporaryFolder(), 'copies');
  process.env.LV_EMULATED_COPIES = log;
  const up = await DeviceBuffer.upload(pixels);
  const on = {
    patches: DeviceBuffer.allocate('float32', [frames, patches, channels]),
    summaries: DeviceBuffer.allocate('float32', [frames, layers, channels]),
  };
  expect(await tower.run({ pixels: up }, on)).toEqual(on);
  const merged = await mergeTokens(on.patches.reshape([1, frames * patches, channels]), { heads, keep });
  const pooled = await poolClsTokens(on.summaries);
  const project = async (features: DeviceBuffer) => {
    const embeddings = DeviceBuffer.allocate('float32', [features.dims[0]!, width]);
    await projector.run({ features }, { embeddings });
    return embeddings;
  };
  const embedded = [await project(pooled), await project(merged.tokens.reshape([keep, channels]))];
  const found = await Promise.all(embedded.map(async (buffer) => [...(await buffer.download()).data]));
  delete process.env.LV_EMULATED_COPIES;

  expect(found.flat()).toEqual([...wanted.data]);
  const copies = (await readFile(log, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => line.split(' '));
  const bytes = (way: string) => copies.filter(([of]) => of === way).map(([, count]) => Number(count));
  expect(bytes('up')).toEqual([pixels.data.length]);
  // Besides the embeddings only the kernels' reports of what they found: 16 bytes for each call.
  expect(bytes('down').toSorted((a, b) => a - b)).toEqual([16, 16, keep * width * 4, layers * width * 4]);
  expect(bytes('across')).toEqual([]);
  for (const buffer of [up, on.patches, on.summaries, pooled, ...Object.values(merged), ...embedded]) buffer.dispose();
});

test('a run refuses device buffers that were disposed or do not fit', async () => {
  const { size, patches, channels, layers } = shapes;
  const pixels = DeviceBuffer.allocate('uint8', [1, size, size, 3]);
  const outputs = () => ({ patches: empty(1, patches, channels), summaries: empty(1, layers, channels) });
  const numbers = DeviceBuffer.allocate('int32', [1, size, size, 3]);
  await expect(tower.run({ pixels: numbers }, outputs())).rejects.toThrow(
    /one of float32, float16 or uint8 for pixels/,
  );
  expect(() => pixels.reshape([size])).toThrow(/axes of .* values together for dims/);
  pixels.dispose();
  await expect(tower.run({ pixels }, outputs())).rejects.toMatchObject({ code: 'ERR_LONGVLM_DISPOSED' });
  numbers.dispose();
});

describe('a graph with work on its GPU', () => {
  const channels = 4;
  /** y = x, [rows, channels]. */
  async function open(device: string, gpuBatch?: number) {
    const graph = new GraphBuilder('same');
    graph.output('y', graph.input('x', ['rows', channels]), ['rows', channels]);
    const options = { name: 'The graph', ...(gpuBatch !== undefined && { gpuBatch }) };
    return ortRuntime({ device, threads: 1 }).open(await graph.build(), options);
  }
  const rows = 6;
  const merged = () => ({
    tokens: DeviceBuffer.allocate('float32', [1, 2, channels]),
    sizes: DeviceBuffer.allocate('float32', [1, 2]),
    assignment: DeviceBuffer.allocate('int32', [1, rows]),
  });

  test('tells what an operation found in its output, and works on', async () => {
    const graph = await open('cuda');
    const [x, y] = [0, 1].map(() => DeviceBuffer.allocate('float32', [rows, channels])) as [DeviceBuffer, DeviceBuffer];
    const result = merged();
    const sizes = new Float32Array(2);
    const run = (data: Float32Array) =>
      graph.run(
        { x },
        { y },
        {
          work: {
            uploads: [{ buffer: x, data }],
            operations: [mergingTokens(y.reshape([1, rows, channels]), { heads: 1, keep: 2 }, result)],
            downloads: [{ buffer: result.sizes, data: sizes }],
          },
        },
      );
    const values = Float32Array.from({ length: rows * channels }, (_, i) => Math.sin(i));
    const damaged = values.slice();
    damaged[2 * channels + 1] = Number.NaN;
    await expect(run(damaged)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_NOT_FINITE',
      message: expect.stringMatching(/segment 0, token 2, channel 1/),
    });
    await run(values);
    const wanted = await mergeTokens({ type: 'float32', data: values, dims: [rows, channels] }, { heads: 1, keep: 2 });
    expect(sizes).toEqual(wanted.sizes.data);
    for (const buffer of [x, y, ...Object.values(result)]) buffer.dispose();
    await graph.dispose();
  });

  test('is refused where the graph runs elsewhere', async () => {
    const graph = await open('cpu');
    expect(await graph.gpu()).toBeUndefined();
    const x = DeviceBuffer.allocate('float32', [rows, channels]);
    const work = { uploads: [{ buffer: x, data: new Float32Array(rows * channels) }] };
    await expect(graph.run({ x }, { y: empty(rows, channels) }, { work })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_INFERENCE',
      message: expect.stringMatching(/buffer is invalid: on another device/),
    });
    x.dispose();
    await graph.dispose();
  });

  // A session that has room for three rows stands for a GPU that is almost full.
  test.each([
    ['cuda', [6, 3, 3, 3, 2, 1]],
    ['cpu', [6]],
  ])('on %s runs fewer rows at once where the memory is not enough', async (device, tried) => {
    const graph = await open(device, 6);
    const batches: number[] = [];
    const full = new LongVLMError('ERR_LONGVLM_CUDA_OOM', 'Failed to allocate memory');
    const run = vi.spyOn(OrtSession.prototype, 'run').mockImplementation(async ({ rows, batch }) => {
      batches.push(batch);
      if (batch > 3 || rows > 100) throw full;
    });
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    try {
      const ask = (count: number) => graph.run({ x: empty(count, channels) }, { y: empty(count, channels) });
      const message =
        /^The graph does not fit into the memory of cuda \(emulated.*Failed to allocate memory\. .*device cpu\.$/;
      if (device === 'cpu') await expect(ask(rows)).rejects.toBe(full);
      else {
        await ask(rows);
        await ask(rows);
        expect(warned).toHaveBeenCalledTimes(1);
        await expect(ask(101)).rejects.toMatchObject({ code: full.code, message: expect.stringMatching(message) });
      }
      expect(batches).toEqual(tried);
    } finally {
      run.mockRestore();
      warned.mockRestore();
      await graph.dispose();
    }
  });
});
