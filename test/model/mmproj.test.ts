import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Float32Tensor, float32Tensor } from '../../dist/base/tensor.js';
import { VisionEncoder } from '../../dist/encode/visionEncoder.js';
import { openGguf } from '../../dist/files/gguf.js';
import { LongVLM, VideoFeatures } from '../../dist/index.js';
import { mergeTokens, poolClsTokens } from '../../dist/kernels/index.js';
import { Projector } from '../../dist/projector/projector.js';
import { readMmprojConfig } from '../../dist/tower/clip/mmprojTower.js';
import { type GgufContent, loadGguf, toQ8, writeGguf } from '../fixtures/gguf/write.js';
import { expected, pico, picoOptions, relativeError } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

// The reference had in float32 what these files have in float16.
const f16Tolerance = 2e-3;

const { T, K } = pico.expected.config;
const folder = await temporaryFolder();
let files = 0;

/** A copy of the mmproj file with a change. */
async function changed(change: (content: GgufContent) => void): Promise<string> {
  const content = await loadGguf(pico.mmproj);
  change(content);
  return writeGguf(join(folder, `${files++}.gguf`), content);
}

async function encodeStored(path: string, globalLayers: number) {
  const encoder = await VisionEncoder.create({ path, globalLayers, threads: 1 });
  try {
    const { patches, cls } = await encoder.forward(await expected('pixel_values_crop'));
    const [, N, C] = patches.dims as [number, number, number];
    const merged = await mergeTokens(float32Tensor(patches.data, [T / K, K * N, C]), { heads: 4, keep: 6 });
    const global = (await poolClsTokens(cls)) as Float32Tensor;
    return { patches, global, local: merged.tokens as Float32Tensor, sizes: merged.sizes as Float32Tensor, encoder };
  } finally {
    await encoder.dispose();
  }
}

const patchesOf = async (path: string) => (await encodeStored(path, 1)).patches.data;

describe('the tower of an mmproj file', () => {
  test("gives the reference's patches and local tokens: the last layer in it is the one they come from", async () => {
    const { patches, local, sizes, encoder } = await encodeStored(pico.mmproj, 1);
    expect(encoder.details).toMatchObject({ layers: 5, patchLayer: 5 });
    expect(readMmprojConfig(await openGguf(pico.mmproj))).toMatchObject({ activation: 'quick_gelu', resize: 'crop' });
    const near = (values: readonly number[]) => values.map((value) => expect.closeTo(value, 6));
    expect(encoder.config).toMatchObject({
      mean: near([0.48145466, 0.4578275, 0.40821073]),
      std: near([0.26862954, 0.26130258, 0.27577711]),
      rescale: 1 / 255,
    });
    expect(relativeError(patches.data, (await expected('patches')).data)).toBeLessThan(f16Tolerance);
    expect(relativeError(local.data, (await expected('local')).data)).toBeLessThan(f16Tolerance);
    expect([...sizes.data]).toEqual([...(await expected('sizes')).data]);
  });

  test('counts global layers from the last state that is there', async () => {
    // The reference has states 2 to 6 of the whole tower; the file ends with 5.
    const { global } = await encodeStored(pico.mmproj, 4);
    const states2To5 = (await expected('global')).data.subarray(0, 4 * 64);
    expect(relativeError(global.data, states2To5)).toBeLessThan(f16Tolerance);
    await expect(VisionEncoder.create({ path: pico.mmproj, globalLayers: 7 })).rejects.toThrow(
      'between 0 and 6 for globalLayers',
    );
  });

  test('takes the patches of the layer that is named', async () => {
    const named = (layer: number | number[]) =>
      changed(({ metadata }) => {
        metadata.set('clip.vision.feature_layer', layer);
      });
    expect(await patchesOf(await named([5]))).toEqual(await patchesOf(pico.mmproj));
    // As Hugging Face's files of the tower give it, when they are said to end a layer sooner.
    const clip = join(folder, 'clip');
    await cp(pico.clip, clip, { recursive: true });
    const config = JSON.parse(await readFile(join(clip, 'config.json'), 'utf8')) as object;
    await writeFile(join(clip, 'config.json'), JSON.stringify({ ...config, num_hidden_layers: 4 }));
    const due = await patchesOf(clip);
    expect(relativeError(await patchesOf(await named([3])), due)).toBeLessThan(f16Tolerance);
    // Layers above it still give global tokens.
    const { global } = await encodeStored(await named(3), 2);
    expect(relativeError(global.data, (await expected('global')).data.subarray(2 * 64, 4 * 64))).toBeLessThan(
      f16Tolerance,
    );
  });

  test('takes the patches of several layers next to each other, from the lowest to the highest', async () => {
    const path = await changed(({ metadata }) => {
      metadata.set('clip.vision.feature_layer', [2, 4]);
    });
    const encoder = await VisionEncoder.create({ path, threads: 1 });
    const { patches, cls } = await encoder.forward(await expected('pixel_values_crop'));
    await encoder.dispose();
    expect(encoder.details).toMatchObject({ patchLayers: '2, 4' });
    expect([patches.dims[2], cls.dims[1], cls.dims[2]]).toEqual([128, 1, 128]);
    const one = async (layer: number) =>
      patchesOf(await changed(({ metadata }) => void metadata.set('clip.vision.feature_layer', layer)));
    const half = (which: number) => patches.data.filter((_, index) => Math.floor((index % 128) / 64) === which);
    expect(relativeError(half(0), await one(2))).toBeLessThan(1e-5);
    expect(relativeError(half(1), await one(4))).toBeLessThan(1e-5);
  });

  test('takes those of the last layer but one where the file has all layers of a known tower', async () => {
    const file = await openGguf(pico.mmproj);
    const norm = file.tensors.get('v.blk.0.ln1.weight')!;
    const withLayers = (count: number) => ({
      ...file,
      metadata: new Map(file.metadata).set('clip.vision.embedding_length', 1024),
      tensors: new Map([
        ...file.tensors,
        ...Array.from({ length: count }, (_, index) => [`v.blk.${index}.ln1.weight`, norm] as const),
      ]),
    });
    expect(readMmprojConfig(withLayers(23))).toMatchObject({ layers: 23, patchLayers: [23] });
    expect(readMmprojConfig(withLayers(24))).toMatchObject({ layers: 24, patchLayers: [23] });
  });

  test('reads older files, which have the two layers of an MLP the other way round', async () => {
    const swapped = await changed(({ tensors }) => {
      for (const name of [...tensors.keys()].filter((name) => name.includes('.ffn_up.'))) {
        const other = name.replace('ffn_up', 'ffn_down');
        const [up, down] = [tensors.get(name)!, tensors.get(other)!];
        tensors.set(name, down);
        tensors.set(other, up);
      }
    });
    expect(await patchesOf(swapped)).toEqual(await patchesOf(pico.mmproj));
  });

  test('has GELU where the file says so', async () => {
    const gelu = await changed(({ metadata }) => {
      metadata.set('clip.use_gelu', true);
    });
    const error = relativeError(await patchesOf(gelu), await patchesOf(pico.mmproj));
    // QuickGELU is an approximation of GELU: another result, but not a strange one.
    expect(error).toBeGreaterThan(f16Tolerance);
    expect(error).toBeLessThan(0.2);
  });

  test('may be in bfloat16', async () => {
    const bfloat16 = await changed(({ tensors }) => {
      for (const [name, { type, shape, data }] of tensors) {
        if (type !== 'F32') continue;
        const words = new Uint32Array((data as Float32Array).slice().buffer);
        tensors.set(name, { type: 'BF16', shape, data: Uint16Array.from(words, (word) => (word + 0x8000) >>> 16) });
      }
    });
    expect(relativeError(await patchesOf(bfloat16), await patchesOf(pico.mmproj))).toBeLessThan(0.02);
  });
});

describe('quantised weights', () => {
  const before = process.env.LONGVLM_CACHE;
  beforeAll(() => {
    process.env.LONGVLM_CACHE = join(folder, 'cache');
  });
  afterAll(() => {
    if (before === undefined) delete process.env.LONGVLM_CACHE;
    else process.env.LONGVLM_CACHE = before;
  });

  test('are near those they were made from', async () => {
    const quantized = await changed(({ tensors }) => {
      for (const [name, tensor] of tensors)
        if (tensor.type === 'F16' && tensor.shape.length === 2 && name !== 'v.position_embd.weight')
          tensors.set(name, toQ8(tensor));
    });
    const { patches } = await encodeStored(quantized, 1);
    const error = relativeError(patches.data, (await expected('patches')).data);
    expect(error).toBeLessThan(0.03);
    const projector = await Projector.load(quantized, { threads: 1 });
    const { data } = await projector.project(float32Tensor((await expected('local')).data, [24, 64]));
    expect(relativeError(data, (await expected('video_mlp')).data.subarray(5 * 64))).toBeLessThan(0.03);
    await projector.dispose();
  });
});

describe('the projector of an mmproj file', () => {
  test("with the reference's features gives its embeddings, and the 16 greedy tokens", async () => {
    const vlm = await LongVLM.load({ ...picoOptions, vision: pico.mmproj, projector: pico.mmproj });
    try {
      expect(vlm.models.projector).toMatchObject({ kind: 'mlp2x_gelu', inChannels: 64, outChannels: 64 });
      const { local, sizes } = await encodeStored(pico.mmproj, 1);
      const features = new VideoFeatures({
        local,
        sizes,
        // State 6, which is among them, is not in the file.
        global: await expected('global'),
        timestamps: new Float32Array(T),
        sampling: { ...vlm.sampling, frames: T },
        tower: vlm.tower,
        source: { name: 'pixels', durationSeconds: 20, frameCount: 252, width: 128, height: 96, warnings: [] },
      });
      const video = await vlm.project(features);
      expect(relativeError(video.data, (await expected('video_mlp')).data)).toBeLessThan(f16Tolerance);
      const { question } = pico.expected.prompt;
      const { tokenIds } = await vlm.ask(features, question, { temperature: 0, maxTokens: 16 });
      expect(tokenIds).toEqual(pico.expected.greedy_mlp);
    } finally {
      await vlm.dispose();
    }
  });

  test('may be one layer', async () => {
    const linear = await changed(({ tensors }) => {
      tensors.delete('mm.2.weight');
      tensors.delete('mm.2.bias');
    });
    const projector = await Projector.load(linear, { threads: 1 });
    expect(projector.kind).toBe('linear');
    await projector.dispose();
  });
});

describe('refused is', () => {
  test.each<[string, (content: GgufContent) => void, string, RegExp]>([
    [
      'a projector of another type, by its name',
      ({ metadata }) => metadata.set('clip.projector_type', 'qwen2vl_merger'),
      'ERR_LONGVLM_UNSUPPORTED',
      /a projector of type 'qwen2vl_merger' is not supported/,
    ],
    [
      'a tower of another kind',
      ({ tensors }) => tensors.delete('v.class_embd'),
      'ERR_LONGVLM_UNSUPPORTED',
      /its vision tower is not one of CLIP/,
    ],
    [
      'a tower with two activations',
      ({ metadata }) => metadata.set('clip.use_silu', true).set('clip.use_gelu', true),
      'ERR_LONGVLM_WEIGHTS',
      /clip\.use_gelu and clip\.use_silu are both true/,
    ],
    [
      'layers in an order that llama.cpp does not keep',
      ({ metadata }) => metadata.set('clip.vision.feature_layer', [4, 2]),
      'ERR_LONGVLM_UNSUPPORTED',
      /the layers of clip\.vision\.feature_layer, 4, 2, do not ascend/,
    ],
    [
      'fewer heads for keys',
      ({ metadata }) => metadata.set('clip.vision.attention.head_count_kv', 2),
      'ERR_LONGVLM_UNSUPPORTED',
      /clip\.vision\.attention\.head_count_kv 2 is not supported, only 4/,
    ],
    [
      'a tower without layers',
      ({ tensors }) => tensors.delete('v.blk.0.ln1.weight'),
      'ERR_LONGVLM_WEIGHTS',
      /tensor v\.blk\.0\.ln1\.weight is missing/,
    ],
    ...['v.blk.1.ls1.weight', 'v.blk.0.attn_q_norm.weight', 'v.post_ln.weight', 'v.patch_embd.weight.1'].map(
      (name): [string, (content: GgufContent) => void, string, RegExp] => [
        `a tower with ${name}, which it would ignore`,
        ({ tensors }) => tensors.set(name, tensors.get('v.pre_ln.weight')!),
        'ERR_LONGVLM_UNSUPPORTED',
        new RegExp(`tensor ${name} is no part of a CLIP vision tower`),
      ],
    ),
    [
      'pixels that are divided by zero',
      ({ metadata }) => metadata.set('clip.vision.image_std', [0.5, 0, 0.5]),
      'ERR_LONGVLM_UNSUPPORTED',
      /the deviation 0\.5, 0, 0\.5 .* are no finite numbers/,
    ],
    [
      'a layer that is not there',
      ({ metadata }) => metadata.set('clip.vision.feature_layer', [6]),
      'ERR_LONGVLM_WEIGHTS',
      /there are 5 layers in it where clip.vision.feature_layer asks for layer 6/,
    ],
    [
      'a file without a size',
      ({ metadata }) => metadata.delete('clip.vision.patch_size'),
      'ERR_LONGVLM_WEIGHTS',
      /Expected positive integer for clip.vision.patch_size but received undefined\. Convert or download the mmproj file again\./,
    ],
    [
      'a size that is none',
      ({ metadata }) => metadata.set('clip.vision.image_size', 'large'),
      'ERR_LONGVLM_WEIGHTS',
      /Expected positive integer for clip.vision.image_size but received 'large' of type string/,
    ],
    [
      'a number that is none',
      ({ metadata }) => metadata.set('clip.vision.attention.layer_norm_epsilon', 0),
      'ERR_LONGVLM_WEIGHTS',
      /Expected positive number for clip.vision.attention.layer_norm_epsilon but received 0 of type number/,
    ],
    [
      'two means',
      ({ metadata }) => metadata.set('clip.vision.image_mean', [0.5, 0.25]),
      'ERR_LONGVLM_WEIGHTS',
      /Expected finite number for clip.vision.image_mean\[2\] but received undefined/,
    ],
    [
      'a switch that is none',
      ({ metadata }) => metadata.set('clip.use_gelu', 'yes'),
      'ERR_LONGVLM_WEIGHTS',
      /Expected boolean for clip.use_gelu but received 'yes' of type string/,
    ],
    [
      'a layer that is no number',
      ({ metadata }) => metadata.set('clip.vision.feature_layer', 'last'),
      'ERR_LONGVLM_WEIGHTS',
      /Expected integer for clip.vision.feature_layer but received 'last' of type string/,
    ],
    [
      'a list of layers that are no numbers',
      ({ metadata }) => metadata.set('clip.vision.feature_layer', ['last']),
      'ERR_LONGVLM_WEIGHTS',
      /Expected integer for clip.vision.feature_layer\[0\] but received 'last' of type string/,
    ],
    [
      'a type of projector that is no name',
      ({ metadata }) => metadata.set('clip.projector_type', true),
      'ERR_LONGVLM_WEIGHTS',
      /Expected string for clip.projector_type but received true of type boolean/,
    ],
    [
      'a tensor of another shape',
      ({ metadata }) => metadata.set('clip.vision.image_size', 84),
      'ERR_LONGVLM_WEIGHTS',
      /tensor v.position_embd.weight has shape \[17, 64\]/,
    ],
    [
      'a file that lacks a tensor',
      ({ tensors }) => tensors.delete('v.blk.2.attn_q.bias'),
      'ERR_LONGVLM_WEIGHTS',
      /tensor v.blk.2.attn_q.bias is missing/,
    ],
  ])('%s', async (_, change, code, message) => {
    const path = await changed(change);
    await expect(VisionEncoder.create({ path, globalLayers: 1 })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  test('a language model', async () => {
    const error = { code: 'ERR_LONGVLM_UNSUPPORTED', message: expect.stringContaining("of architecture 'llama'") };
    await expect(VisionEncoder.create({ path: pico.llm })).rejects.toMatchObject(error);
    await expect(Projector.load(pico.llm)).rejects.toMatchObject(error);
  });
});
