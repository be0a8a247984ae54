// Towers whose MLPs are square, so that shapes do not tell their two layers apart: mmproj files against Hugging Face's.
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { type TensorData, writeSafetensors } from '../../dist/files/safetensors.js';
import { projectFrames, VisionEncoder } from '../../dist/index.js';
import { type GgufContent, type GgufTensor, loadGguf, writeGguf } from '../fixtures/gguf/write.js';
import { expected, pico, qwen3vl, relativeError } from '../fixtures/index.js';
import { loadTensors, temporaryFolder, tensorOf } from '../fixtures/vision/index.js';

const smolvlm = fileURLToPath(new URL('../fixtures/towers/smolvlm', import.meta.url));
const folder = await temporaryFolder();

/** The first `size` rows and columns of a matrix, or values of a bias. */
function cut<T extends GgufTensor | TensorData>(tensor: T, size: number): T {
  const { shape, data } = tensor;
  const [rows, columns = 1] = shape as [number, number?];
  const values = data as Float32Array | Uint16Array;
  const taken = Array.from({ length: Math.min(rows, size) }, (_, row) => [
    ...values.subarray(row * columns, row * columns + Math.min(columns, size)),
  ]).flat();
  const made = values instanceof Float32Array ? Float32Array.from(taken) : Uint16Array.from(taken);
  return { ...tensor, shape: shape.map((length) => Math.min(length, size)), data: made };
}

/** A folder whose tower has as many values between the layers of an MLP as channels. */
async function squareFolder(from: string, name: string): Promise<{ path: string; channels: number }> {
  const path = join(folder, name);
  await cp(from, path, { recursive: true });
  const config = JSON.parse(await readFile(join(path, 'config.json'), 'utf8'));
  const vision = config.vision_config ?? config;
  const channels = vision.hidden_size as number;
  vision.intermediate_size = channels;
  await writeFile(join(path, 'config.json'), JSON.stringify(config));
  const tensors = await loadTensors(join(from, 'model.safetensors'));
  for (const key of Object.keys(tensors).filter((key) => /(?<!text_model.*)\.mlp\.(linear_)?fc[12]\./.test(key)))
    tensors[key] = cut(tensors[key]!, channels);
  await writeSafetensors(join(path, 'model.safetensors'), tensors);
  return { path, channels };
}

/** The same of an mmproj file. */
async function squareMmproj(from: string, channels: number, change?: (content: GgufContent) => void): Promise<string> {
  const content = await loadGguf(from);
  content.metadata.set('clip.vision.feed_forward_length', channels);
  for (const [key, tensor] of content.tensors)
    if (/^v\.blk\.\d+\.ffn_(up|down)\./.test(key)) content.tensors.set(key, cut(tensor, channels));
  change?.(content);
  return writeGguf(join(folder, `${channels}.gguf`), content);
}

test.each([
  ['SmolVLM', smolvlm, join(smolvlm, 'expected.safetensors'), 'pixels', undefined],
  ['Qwen3-VL', qwen3vl.folder, qwen3vl.expected, 'pixels 1 6 6', [1, 6, 6]],
] as const)('the MLP of %s is what the names say', async (name, from, file, key, grid) => {
  const { path, channels } = await squareFolder(from, name);
  const pixels = await tensorOf(file, key);
  const options = { threads: 1, ...(grid && { grid }) };
  const due = await projectFrames(pixels, { projector: path, ...options });
  const projector = await squareMmproj(join(from, 'mmproj.gguf'), channels);
  const { tokens } = await projectFrames(pixels, { projector, ...options });
  expect(relativeError(tokens.data, due.tokens.data)).toBeLessThan(1e-5);
});

test('the MLP of a CLIP is the other way round, as in all files of its converter', async () => {
  const { path, channels } = await squareFolder(pico.clip, 'clip');
  const older = await squareMmproj(pico.mmproj, channels, ({ tensors }) => {
    for (const up of [...tensors.keys()].filter((key) => key.includes('.ffn_up.'))) {
      const down = up.replace('ffn_up', 'ffn_down');
      const [first, second] = [tensors.get(up)!, tensors.get(down)!];
      tensors.set(up, second).set(down, first);
    }
  });
  const patchesOf = async (tower: string) => {
    const encoder = await VisionEncoder.create({ path: tower, globalLayers: 1, threads: 1 });
    try {
      return (await encoder.forward(await expected('pixel_values_crop'))).patches.data;
    } finally {
      await encoder.dispose();
    }
  };
  // The file has float16.
  expect(relativeError(await patchesOf(older), await patchesOf(path))).toBeLessThan(2e-3);
});
