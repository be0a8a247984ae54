// A vision tower with random weights, frames for it, and runs of it, on a device or on the host.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { float32Tensor, numberToHalf } from '../../dist/base/tensor.js';
import { OrtSession } from '../../dist/compute/ortSession.js';
import { DeviceBuffer } from '../../dist/kernels/index.js';
import { openTower } from '../../dist/tower/families.js';

/** What is encoded: how large the tower is, how many frames, and how many tokens of a segment are kept. */
export const scaleOf = ({ emulated }) =>
  emulated
    ? { channels: 64, feedForward: 128, layers: 3, heads: 4, size: 56, patch: 14, width: 32, frames: 20, keep: 6 }
    : {
        channels: 1024,
        feedForward: 4096,
        layers: 24,
        heads: 16,
        size: 224,
        patch: 14,
        width: 4096,
        frames: 100,
        keep: 30,
      };

export const segmentFrames = 10;

/** Numbers in [0, 1) that are the same on every machine. */
export function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** [name, shape, mean, spread] of each of a CLIP tower's tensors, by Hugging Face's names. */
function tensorsOf({ channels, feedForward, layers, size, patch }) {
  const patches = Math.floor(size / patch) ** 2;
  const norm = (name) => [
    [`${name}.weight`, [channels], 1, 0.1],
    [`${name}.bias`, [channels], 0, 0.1],
  ];
  const linear = (name, outputs, inputs) => [
    [`${name}.weight`, [outputs, inputs], 0, inputs ** -0.5],
    [`${name}.bias`, [outputs], 0, 0.02],
  ];
  const layer = (name) => [
    ...norm(`${name}.layer_norm1`),
    ...['q', 'k', 'v', 'out'].flatMap((part) => linear(`${name}.self_attn.${part}_proj`, channels, channels)),
    ...norm(`${name}.layer_norm2`),
    ...linear(`${name}.mlp.fc1`, feedForward, channels),
    ...linear(`${name}.mlp.fc2`, channels, feedForward),
  ];
  return [
    ['embeddings.class_embedding', [channels], 0, 1],
    ['embeddings.patch_embedding.weight', [channels, 3, patch, patch], 0, (3 * patch ** 2) ** -0.5],
    ['embeddings.position_embedding.weight', [patches + 1, channels], 0, 0.3],
    ...norm('pre_layrnorm'),
    ...Array.from({ length: layers }, (_, index) => layer(`encoder.layers.${index}`)).flat(),
    ...norm('post_layernorm'),
  ];
}

// Weights are taken from a table of so many values: rounding each by itself takes a minute.
const tableSize = 4096;

/**
 * Writes weights in float16, so that both precisions compute with the same ones and only their arithmetic differs.
 * @param tensors [name, shape, mean, spread] of each
 */
async function writeWeights(path, tensors) {
  const header = {};
  let offset = 0;
  for (const [name, shape] of tensors) {
    const bytes = 2 * shape.reduce((a, b) => a * b);
    header[name] = { dtype: 'F16', shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  const json = JSON.stringify(header);
  const text = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const next = random(1);
  const bell = Array.from({ length: tableSize }, () => next() + next() + next() + next() - 2).map((sum) => sum * 1.73);
  let state = 12345;
  const file = await open(path, 'w');
  for (const part of [length, text]) await file.write(part);
  for (const [, shape, mean, spread] of tensors) {
    const table = Uint16Array.from(bell, (value) => numberToHalf(mean + spread * value));
    const values = new Uint16Array(shape.reduce((a, b) => a * b));
    for (let i = 0; i < values.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      values[i] = table[(state >>> 16) % tableSize];
    }
    await file.write(new Uint8Array(values.buffer));
  }
  await file.close();
}

/** Writes a tower in Hugging Face's format, and a projector in LLaVA's beside it, unless they are there. */
export async function makeModels(folder, scale) {
  const { channels, feedForward, layers, heads, size, patch, width } = scale;
  const tower = tensorsOf(scale);
  const projector = [
    ['mm_projector.weight', [width, channels], 0, channels ** -0.5],
    ['mm_projector.bias', [width], 0, 0.02],
  ];
  const stamp = join(folder, 'made.json');
  const wanted = JSON.stringify([heads, tower, projector]);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  mkdirSync(dirname(projectorIn(folder)), { recursive: true });
  await writeWeights(join(folder, 'model.safetensors'), tower);
  await writeWeights(projectorIn(folder), projector);
  const described = {
    model_type: 'clip_vision_model',
    hidden_size: channels,
    intermediate_size: feedForward,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    image_size: size,
    patch_size: patch,
    hidden_act: 'quick_gelu',
  };
  writeFileSync(join(folder, 'config.json'), JSON.stringify(described));
  writeFileSync(stamp, wanted);
}

export const projectorIn = (folder) => join(folder, 'projector', 'projector.safetensors');

/** Frames [count, size, size, 3] of a pattern that moves a little from frame to frame, with noise. */
export function makeFrames(count, size) {
  const next = random(2);
  const data = new Uint8Array(count * size * size * 3);
  let at = 0;
  for (let frame = 0; frame < count; frame++)
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++)
        for (let colour = 0; colour < 3; colour++)
          data[at++] =
            128 + 70 * Math.sin((x + frame) / (9 + 4 * colour)) + 40 * Math.cos(y / (13 - colour)) + 16 * next();
  return { type: 'uint8', data, dims: [count, size, size, 3] };
}

/** Opens the tower in a folder; `release()` frees it. */
export async function openSession(folder, { device }, precision = 'float32') {
  const source = await openTower(folder);
  const model = await source.graph({ input: 'uint8', ...(precision === 'float16' && { precision }) });
  const session = await OrtSession.load(model, { device, threads: undefined });
  return { config: source.config, session, release: () => session.release() };
}

/** Shapes of a tower's outputs for so many frames. */
export const shapesOf = ({ patches, summaries, channels }, frames) => ({
  patches: [frames, patches, channels],
  summaries: [frames, summaries, channels],
});

const forEach = (shapes, make) => Object.fromEntries(Object.entries(shapes).map(([name, dims]) => [name, make(dims)]));

export const onHost = (shapes) =>
  forEach(shapes, (dims) => float32Tensor(new Float32Array(dims.reduce((a, b) => a * b)).fill(Number.NaN), dims));
export const onDevice = (shapes) => forEach(shapes, (dims) => DeviceBuffer.allocate('float32', dims));

export const dispose = (...values) => {
  for (const value of values.flatMap((some) => (some instanceof DeviceBuffer ? [some] : Object.values(some))))
    value.dispose();
};

/** Runs a tower over frames, `batch` at once, into `outputs`, and returns those. */
export async function encode({ session }, pixels, outputs, batch) {
  await session.run({ rows: pixels.dims[0], batch, inputs: { pixels }, outputs });
  return outputs;
}
