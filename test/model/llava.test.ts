// Against transformers: what a LLaVA's configuration says about its tower and its projector.
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { float32Tensor } from '../../dist/base/tensor.js';
import { VideoEncoder } from '../../dist/encode/videoEncoder.js';
import { VisionEncoder } from '../../dist/encode/visionEncoder.js';
import { openSafetensors, writeSafetensors } from '../../dist/files/safetensors.js';
import { describeModels, LongVLM } from '../../dist/index.js';
import { Projector } from '../../dist/projector/projector.js';
import { openTower } from '../../dist/tower/families.js';
import { frameGeometry } from '../../dist/tower/pixels.js';
import { openVideo } from '../../dist/video/openVideo.js';
import { llava, pico, relativeError, llavaVision as vision } from '../fixtures/index.js';
import { loadTensors, type Tensors, temporaryFolder, tensorOf } from '../fixtures/vision/index.js';

const folder = await temporaryFolder();
let folders = 0;

type Change = {
  readonly config?: object;
  readonly vision?: object;
  readonly files?: object;
  readonly tensors?: Tensors;
};

/** A folder of the LLaVA with a change. */
async function changed({ config, vision: own, files, tensors }: Change = {}): Promise<string> {
  const path = join(folder, String(folders++));
  await mkdir(path);
  const whole = { model_type: 'llava', vision_config: { ...vision, ...own }, ...config };
  for (const [name, content] of Object.entries({ 'config.json': whole, ...files }))
    await writeFile(join(path, name), JSON.stringify(content));
  if (tensors) await writeSafetensors(join(path, 'model.safetensors'), tensors);
  else await copyFile(llava.weights, join(path, 'model.safetensors'));
  return path;
}

const expected = (name: string) => tensorOf(llava.expected, name);
const tensors = await loadTensors(llava.weights);

async function forward(path: string) {
  const encoder = await VisionEncoder.create({ path, globalLayers: 1, threads: 1 });
  try {
    return { ...(await encoder.forward(await expected('pixels'))), encoder };
  } finally {
    await encoder.dispose();
  }
}

async function embeddings(path: string, features = 'features') {
  const projector = await Projector.load(path, { threads: 1 });
  try {
    const { data, dims } = await expected(features);
    const given = float32Tensor(data, [data.length / dims.at(-1)!, dims.at(-1)!]);
    return { ...(await projector.project(given)), projector };
  } finally {
    await projector.dispose();
  }
}

const names = [...(await openSafetensors(llava.expected)).tensors.keys()];
const starting = (word: string) => names.filter((name) => name.startsWith(word)).map((name) => name.slice(word.length));

describe('the patches of a LLaVA', () => {
  test.each(starting('patches '))('are those of %s', async (settings) => {
    const { patches, cls, encoder } = await forward(await changed({ config: JSON.parse(settings) }));
    const due = await expected(`patches ${settings}`);
    expect(patches.dims).toEqual(due.dims);
    expect(relativeError(patches.data, due.data)).toBeLessThan(1e-5);
    // The class token has the channels of patches, so that a projector takes both.
    expect(cls.dims).toEqual([2, 1, due.dims[2]]);
    const { patches: count, grid, channels } = encoder.config;
    expect([count, grid[0] * grid[1], channels]).toEqual([due.dims[1], due.dims[1], due.dims[2]]);
  });

  test('are merged with the class token that stays before them', async () => {
    const path = await changed({ config: { vision_feature_select_strategy: 'full', vision_feature_layer: [-1, 1] } });
    const encoder = await VideoEncoder.create({
      ...{ vision: path, device: 'cpu', threads: 1 },
      ...{ frames: 2, segmentFrames: 2, tokensPerSegment: 10, globalLayers: 1 },
    });
    const features = await encoder.encode(llava.still);
    await encoder.dispose();
    expect(features.local.dims).toEqual([1, 10, 32]);
    expect(features.global.dims).toEqual([1, 32]);
  });

  // The projector's test has the others.
  test.each(['gelu_new', 'silu', 'relu2', 'mish'])('with the activation %s', async (hidden_act) => {
    const { patches } = await forward(await changed({ vision: { hidden_act } }));
    expect(relativeError(patches.data, (await expected(`act ${hidden_act}`)).data)).toBeLessThan(2e-5);
  });

  test.each(['llava', 'llava_next'])('are the same in a %s', async (model_type) => {
    const { patches } = await forward(await changed({ config: { model_type } }));
    expect(relativeError(patches.data, (await expected('act quick_gelu')).data)).toBeLessThan(1e-5);
  });

  test('may come from a file of MLX, whose patch embedding has its channels last', async () => {
    const name = 'model.vision_tower.embeddings.patch_embedding.weight';
    const { shape, data } = tensors[name]!;
    const [out, colors, rows, columns] = shape as [number, number, number, number];
    const last = new Float32Array(out * colors * rows * columns);
    const at = (o: number, c: number, y: number, x: number) => ((o * colors + c) * rows + y) * columns + x;
    for (let i = 0, o = 0; o < out; o++)
      for (let y = 0; y < rows; y++)
        for (let x = 0; x < columns; x++)
          for (let c = 0; c < colors; c++) last[i++] = (data as Float32Array)[at(o, c, y, x)]!;
    const mlx = { ...tensors, [name]: { type: 'F32', shape: [out, rows, columns, colors], data: last } as const };
    const { patches } = await forward(await changed({ tensors: mlx }));
    expect(relativeError(patches.data, (await expected('act quick_gelu')).data)).toBeLessThan(1e-5);
  });

  test('have an identity of their own for each setting that they depend on, and an old one where nothing is new', async () => {
    const changes: Change[] = [
      { config: { vision_feature_layer: -1 } },
      { config: { vision_feature_layer: [-2, -2] } },
      { config: { vision_feature_select_strategy: 'full' } },
      { vision: { hidden_act: 'gelu' } },
      { files: { 'preprocessor_config.json': { size: 10, crop_size: 8 } } },
      { files: { 'preprocessor_config.json': { size: { height: 8, width: 8 }, do_center_crop: false } } },
      { files: { 'preprocessor_config.json': { do_pad: true } } },
      { files: { 'processor_config.json': { image_processor: { image_mean: [0.5, 0.5, 0.5] } } } },
    ];
    const describe = async (change: Change) => JSON.stringify((await openTower(await changed(change), {})).description);
    const seen = await Promise.all(changes.map(describe));
    const plain = await describe({});
    expect(new Set([...seen, plain]).size).toBe(changes.length + 1);
    // Cached features are found by it: its order must stay.
    expect(plain).toBe(
      '{"channels":16,"intermediateSize":32,"layers":3,"heads":2,"imageSize":8,"patchSize":4,"patches":4,"patchLayer":2,"activation":"quick_gelu","layerNormEpsilon":0.00001,"mean":[0.48145466,0.4578275,0.40821073],"std":[0.26862954,0.26130258,0.27577711],"rescale":0.00392156862745098}',
    );
  });

  test('come from frames that are squashed where the image processor does that', async () => {
    const path = await changed({
      vision: { image_size: 16, patch_size: 8 },
      files: {
        'preprocessor_config.json': { image_processor_type: 'SiglipImageProcessor', size: { height: 16, width: 16 } },
      },
      tensors: await resized(),
    });
    const { config } = await openTower(path);
    expect(config).toMatchObject({ mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] });
    const video = await openVideo(llava.still);
    try {
      for await (const { frames } of video.segments({ frames: 1, segmentFrames: 1, geometry: frameGeometry(config) })) {
        const due = (await expected('squashed')).data;
        const off = Float64Array.from(frames, (value, index) => Math.abs(value - due[index]!));
        // ffmpeg's bicubic filter is not quite Pillow's.
        expect(off.reduce((sum, value) => sum + value, 0) / off.length).toBeLessThan(1);
      }
    } finally {
      await video.dispose();
    }
    const encoder = await VideoEncoder.create({
      vision: path,
      device: 'cpu',
      threads: 1,
      frames: 1,
      segmentFrames: 1,
      tokensPerSegment: 2,
      globalLayers: 1,
    });
    expect((await encoder.encode(llava.still)).sampling.resize).toBe('squash');
    await encoder.dispose();
  });

  async function resized(): Promise<Tensors> {
    const data = new Float32Array(16 * 3 * 8 * 8).fill(0.01);
    return {
      ...tensors,
      'model.vision_tower.embeddings.patch_embedding.weight': { type: 'F32', shape: [16, 3, 8, 8], data },
    };
  }
});

describe('the projector of a LLaVA', () => {
  const activations = starting('embeddings ').filter((name) => name !== 'no bias');

  test.each(activations)('with the activation %s', async (projector_hidden_act) => {
    const { data, projector } = await embeddings(await changed({ config: { projector_hidden_act } }));
    expect(projector.kind).toBe(`mlp2x_${projector_hidden_act}`);
    expect(relativeError(data, (await expected(`embeddings ${projector_hidden_act}`)).data)).toBeLessThan(2e-5);
  });

  test('without biases', async () => {
    const config = { multimodal_projector_bias: false };
    const without = Object.fromEntries(Object.entries(tensors).filter(([name]) => !/linear_.\.bias/.test(name)));
    const { data } = await embeddings(await changed({ config, tensors: without }));
    expect(relativeError(data, (await expected('embeddings no bias')).data)).toBeLessThan(1e-5);
    await expect(Projector.load(await changed({ tensors: without }))).rejects.toThrow(/linear_1\.bias is missing/);
    await expect(Projector.load(await changed({ config }))).rejects.toThrow(
      /there is a tensor model\.multi_modal_projector\.linear_1\.bias, where multimodal_projector_bias is false/,
    );
  });

  test('of a VipLLaVA, whose features are several layers, normalised', async () => {
    const config = { model_type: 'vipllava', vision_feature_layers: [-2, 1], projector_layernorm_eps: 1e-3 };
    const tower = Object.fromEntries(Object.entries(tensors).filter(([name]) => name.includes('vision_tower')));
    const path = await changed({ config, tensors: { ...tower, ...(await loadTensors(llava.vipProjector)) } });
    expect(relativeError((await forward(path)).patches.data, (await expected('vip patches')).data)).toBeLessThan(1e-5);
    const { data, projector } = await embeddings(path, 'vip patches');
    expect([projector.kind, projector.inChannels]).toEqual(['layernorm_mlp2x_gelu', 32]);
    expect(relativeError(data, (await expected('vip embeddings')).data)).toBeLessThan(1e-5);
  });
});

describe('refused is', () => {
  const projectorOf = (change: Change) => async () => Projector.load(await changed(change));
  const towerOf = (change: Change) => async () => openTower(await changed(change));
  const named = (from: string, to: string) =>
    Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name.replace(from, to), tensor]));
  const zero = { type: 'F32', shape: [16], data: new Float32Array(16) } as const;

  test.each<[string, () => Promise<unknown>, RegExp]>([
    [
      'an activation of the projector that is unknown',
      projectorOf({ config: { projector_hidden_act: 'xielu' } }),
      /config\.json: Expected one of quick_gelu, .* for projector_hidden_act but received 'xielu'/,
    ],
    [
      'a second projector',
      projectorOf({ tensors: { ...tensors, ...named('model.', 'ema.model.') } }),
      /tensors model\.multi_modal_projector\.\S+ and ema\.model\.multi_modal_projector\.\S+ are of two projectors/,
    ],
    [
      'a second tower',
      towerOf({ tensors: { ...tensors, ...named('model.', 'ema.model.') } }),
      /model\.vision_tower\.embeddings\.class_embedding and ema\.model\.vision_tower\.embeddings\.class_embedding are of two/,
    ],
    [
      'a tensor of the tower that its graph would ignore',
      towerOf({ tensors: { ...tensors, 'model.vision_tower.encoder.layers.1.self_attn.q_norm.weight': zero } }),
      /tensor model\.vision_tower\.encoder\.layers\.1\.self_attn\.q_norm\.weight is no part of a CLIP vision tower/,
    ],
    [
      'an adapter beside a layer',
      towerOf({ tensors: { ...tensors, 'model.vision_tower.encoder.layers.0.mlp.fc1.lora_A.weight': zero } }),
      /lora_A\.weight is no part/,
    ],
    [
      'a layer of patches that is not there',
      towerOf({ config: { vision_feature_layer: -5 } }),
      /Expected integer between -4 and 3 for vision_feature_layer but received -5/,
    ],
    [
      'a list without layers',
      towerOf({ config: { vision_feature_layer: [] } }),
      /Expected at least 1 layer for vision_feature_layer\.length but received 0/,
    ],
    [
      'half a layer',
      towerOf({ config: { vision_feature_layer: [1, 1.5] } }),
      /for vision_feature_layer\[1\] but received 1\.5/,
    ],
    [
      'another strategy',
      towerOf({ config: { vision_feature_select_strategy: 'cls' } }),
      /Expected one of default, full for vision_feature_select_strategy but received 'cls'/,
    ],
    [
      'padding by the word of other code',
      towerOf({ config: { image_aspect_ratio: 'pad' } }),
      /image_aspect_ratio 'pad' .*set do_pad in preprocessor_config\.json/,
    ],
  ])('%s', async (_, load, message) => {
    await expect(load()).rejects.toMatchObject({ name: 'LongVLMError', message: expect.stringMatching(message) });
  });

  test.each<[string, object, object]>([
    ['of another layer', { vision_feature_layer: -1 }, { vision_feature_layer: -2 }],
    ['of a layer from the other end', { vision_feature_layer: 1 }, { vision_feature_layer: -2 }],
    [
      'with the class token',
      { vision_feature_layer: 2 },
      { vision_feature_layer: 2, vision_feature_select_strategy: 'full' },
    ],
    ["by LLaVA's own names", {}, { mm_vision_select_layer: -2, mm_vision_select_feature: 'cls_patch' }],
  ])('a projector that was trained on states %s, before any video, and told by info', async (_, tower, own) => {
    const [vision, projector] = await Promise.all([tower, own].map((config) => changed({ config })));
    const sight = { vision: vision!, projector: projector!, device: 'cpu', threads: 1 };
    const problem = expect.stringMatching(
      /was trained on hidden states 2 with(out)? the class token by the config\.json beside it, which are not those/,
    );
    expect(await describeModels(sight)).toMatchObject({ fit: { problem } });
    expect(await describeModels({ ...sight, projector: vision! })).not.toHaveProperty('fit');
    await expect(LongVLM.load({ ...sight, llm: pico.llm })).rejects.toMatchObject({
      ...{ code: 'ERR_LONGVLM_MISMATCH', message: problem },
    });
  });

  test('padding with a mean that is no colour, before any video; other frames need no colour', async () => {
    const vision = await changed({ files: { 'preprocessor_config.json': { image_mean: [1.5, 0, -0.5] } } });
    const options = {
      ...{ vision, device: 'cpu', threads: 1 },
      ...{ frames: 1, segmentFrames: 1, tokensPerSegment: 2 },
    };
    const message = expect.stringContaining("cannot be padded with the tower's mean, 382, 0, -127 of 255");
    await expect(VideoEncoder.create({ ...options, resize: 'pad' })).rejects.toMatchObject({
      ...{ code: 'ERR_LONGVLM_UNSUPPORTED', message },
    });
    expect(await describeModels({ vision, device: 'cpu', resize: 'pad' })).toMatchObject({ fit: { problem: message } });
    const encoder = await VideoEncoder.create(options);
    expect((await encoder.encode(llava.still)).local.dims).toEqual([1, 2, 16]);
    await encoder.dispose();
  });

  test('a projector of another type than LLaVA names beside it', async () => {
    const weight = { type: 'F32', shape: [16, 16], data: new Float32Array(256) } as const;
    const own = { 'model.mm_projector.weight': weight, 'model.mm_projector.bias': zero };
    await expect(
      Projector.load(await changed({ config: { mm_projector_type: 'mlp2x_gelu' }, tensors: own })),
    ).rejects.toThrow(/holds a projector like linear, where mm_projector_type is mlp2x_gelu/);
    const projector = await Projector.load(await changed({ config: { mm_projector_type: 'linear' }, tensors: own }));
    await projector.dispose();
  });
});
