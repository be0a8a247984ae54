// A segment goes from the tower to the projector in the memory of a GPU: here the emulated one, which writes down every
// copy. On a real GPU scripts for it count them.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Float32Tensor, float32Tensor } from '../../dist/base/tensor.js';
import { type GraphSession, ortRuntime } from '../../dist/compute/runtime.js';
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
