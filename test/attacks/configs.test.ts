// Hostile configurations and tensors of towers and projectors: each is one clear error before anything is built or allocated.
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { VisionEncoder } from '../../dist/encode/visionEncoder.js';
import { type TensorData, writeSafetensors } from '../../dist/files/safetensors.js';
import { LongVLMError } from '../../dist/index.js';
import { Projector } from '../../dist/projector/projector.js';
import { loadGguf, writeGguf } from '../fixtures/gguf/write.js';
import { llava, pico, llavaVision as vision } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

const folder = await temporaryFolder();
let folders = 0;

/** A folder with the weights of a LLaVA, and these files. */
async function folderOf(files: Readonly<Record<string, string | object>>): Promise<string> {
  const path = join(folder, String(folders++));
  await mkdir(path);
  await copyFile(llava.weights, join(path, 'model.safetensors'));
  for (const [name, content] of Object.entries(files))
    await writeFile(join(path, name), typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

async function refusal(load: () => Promise<unknown>): Promise<string> {
  const error = await load().then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(LongVLMError);
  return (error as LongVLMError).message;
}

const tower = async (files: Readonly<Record<string, string | object>>) => {
  const path = await folderOf(files);
  return refusal(() => VisionEncoder.create({ path, threads: 1 }));
};
const towerWith = (change: object) =>
  tower({ 'config.json': { model_type: 'clip', vision_config: { ...vision, ...change } } });
const pixelsWith = (change: object) => tower({ 'config.json': vision, 'preprocessor_config.json': change });

describe('a tower whose configuration asks for', () => {
  test.each<[string, object, RegExp]>([
    ['ten thousand million layers', { num_hidden_layers: 1e10 }, /no layer 3, where .* asks for 10000000000 layers/],
    [
      'more layers than numbers count',
      { num_hidden_layers: 1e300 },
      /positive integer for vision_config\.num_hidden_layers/,
    ],
    ['less than no layers', { num_hidden_layers: -1 }, /positive integer for vision_config\.num_hidden_layers/],
    ['no heads', { num_attention_heads: 0 }, /positive integer for vision_config\.num_attention_heads/],
    ['half a head', { num_attention_heads: 0.5 }, /positive integer for vision_config\.num_attention_heads/],
    ['more heads than channels', { num_attention_heads: 32 }, /hidden_size 16 is no multiple of/],
    ['a picture of 10^15 pixels', { image_size: 2 ** 50, patch_size: 1 }, /patch_embedding\.weight has shape/],
    ['a picture above all frames', { image_size: 2 ** 40, patch_size: 4 }, /position_embedding\.weight has shape/],
    ['10^12 channels', { hidden_size: 1e12, num_attention_heads: 1 }, /class_embedding has shape \[16\]/],
    ['an epsilon of nothing', { layer_norm_eps: -1 }, /positive number for vision_config\.layer_norm_eps/],
    ['sizes in lists', { image_size: [8, 8] }, /positive integer for vision_config\.image_size/],
    ['an activation from the prototype', { hidden_act: 'constructor' }, /for vision_config\.hidden_act/],
  ])('%s', async (_, change, message) => {
    expect(await towerWith(change)).toMatch(message);
  });

  test.each<[string, object, RegExp]>([
    ['an infinite pixel', { image_std: [1, 1, 1e-320] }, /are no finite numbers/],
    ['a deviation of 0', { image_std: [0, 1, 1] }, /are no finite numbers/],
    ['a mean beyond float32', { image_mean: [1e300, 0, 0] }, /are no finite numbers/],
    ['an edge that no frame has', { size: 1e9, crop_size: 8 }, /frames of 1000000000 pixels, above 16384/],
    ['a processor from the prototype', { image_processor_type: '__proto__' }, /'__proto__' is not supported/],
  ])('%s', async (_, change, message) => {
    expect(await pixelsWith(change)).toMatch(message);
  });

  test('a list of layers that never ends', async () => {
    const config = { model_type: 'llava', vision_config: vision, vision_feature_layer: new Array(90_000).fill(-1) };
    expect(await tower({ 'config.json': config })).toMatch(/at most 4 layers for vision_feature_layer\.length/);
  });
});

describe('a configuration that is', () => {
  const whole = JSON.stringify(vision);

  test('larger than any', async () => {
    const message = await tower({ 'config.json': whole + ' '.repeat(1 << 20) });
    expect(message).toMatch(/config\.json: it has more than the 1048576 bytes/);
    const other = await tower({ 'config.json': whole, 'processor_config.json': ' '.repeat((1 << 20) + 1) });
    expect(other).toMatch(/processor_config\.json: it has more than/);
  });

  test('nested beyond any stack', async () => {
    const nested = '['.repeat(400_000) + ']'.repeat(400_000);
    expect(await tower({ 'config.json': nested })).toMatch(/config\.json: it holds no JSON object/);
    const beside = `{"model_type":"clip_vision_model","id2label":${nested}}`;
    expect(await tower({ 'config.json': beside })).toMatch(/config\.json: it holds no JSON object/);
  });

  test('of parts without end', async () => {
    const beside = `{"model_type":"clip_vision_model","id2label":[${'[],'.repeat(300_000)}1]}`;
    expect(await tower({ 'config.json': beside })).toMatch(/config\.json: .*more than 100000 parts/);
  });

  test.skipIf(process.platform === 'win32')('a pipe, or a folder', async () => {
    const path = await folderOf({});
    execFileSync('mkfifo', [join(path, 'config.json')]);
    expect(await refusal(() => VisionEncoder.create({ path }))).toMatch(/config\.json .*not a file/);
    expect(await refusal(() => Projector.load(path))).toMatch(/config\.json .*not a file/);
    const other = await folderOf({ 'config.json': whole });
    await mkdir(join(other, 'preprocessor_config.json'));
    expect(await refusal(() => VisionEncoder.create({ path: other }))).toMatch(
      /preprocessor_config\.json is a folder, not a file/,
    );
  });
});

describe('a projector whose', () => {
  const values = (...shape: number[]): TensorData => ({
    type: 'F32',
    shape,
    data: new Float32Array(shape.reduce((product, size) => product * size, 1)),
  });

  test.each<[string, Record<string, TensorData>, RegExp]>([
    [
      'layer has no outputs',
      { weight: values(0, 16), bias: values(0) },
      /mm_projector\.weight of shape \[0, 16\] holds no values/,
    ],
    [
      'layer has no inputs',
      { weight: values(16, 0), bias: values(16) },
      /mm_projector\.weight of shape \[16, 0\] holds no values/,
    ],
    [
      'second layer is empty',
      { '0.weight': values(4, 16), '0.bias': values(4), '2.weight': values(0, 4), '2.bias': values(0) },
      /mm_projector\.2\.weight of shape \[0, 4\] holds no values/,
    ],
  ])('%s', async (_, tensors, message) => {
    const path = join(folder, `${folders++}.safetensors`);
    await writeSafetensors(
      path,
      Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [`mm_projector.${name}`, tensor])),
    );
    expect(await refusal(() => Projector.load(path, { threads: 1 }))).toMatch(message);
  });

  test.each([{ projector_layernorm_eps: 1e9 }, { multimodal_projector_bias: 'no' }, { mm_projector_type: 3 }])(
    'configuration has %j',
    async (change) => {
      const path = await folderOf({ 'config.json': change });
      expect(await refusal(() => Projector.load(path))).toContain(`for ${Object.keys(change)[0]} but received`);
    },
  );
});

describe('an mmproj file with', () => {
  test.each<[string, number | number[], RegExp]>([
    ['clip.vision.attention.head_count', 0, /positive integer/],
    ['clip.vision.image_size', 2 ** 31, /position_embd\.weight has shape/],
    ['clip.vision.embedding_length', 2 ** 31, /class_embd has shape/],
    ['clip.vision.attention.layer_norm_epsilon', 2, /of at most 1/],
    ['clip.vision.feature_layer', 2 ** 31, /asks for layer 2147483648/],
    ['clip.vision.image_std', [0.5, 0.5, 1e-44], /are no finite numbers/],
  ])('%s %j', async (key, value, message) => {
    const content = await loadGguf(pico.mmproj);
    content.metadata.set(key, value);
    const path = await writeGguf(join(folder, `${folders++}.gguf`), content);
    expect(await refusal(() => VisionEncoder.create({ path, threads: 1 }))).toMatch(message);
  });
});
