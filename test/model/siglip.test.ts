// Against transformers: SigLIP towers, and the models whose projector needs their whole grid.
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { elementCount, type Float32Tensor, float32Tensor } from '../../dist/base/tensor.js';
import { GraphBuilder } from '../../dist/compute/graphBuilder.js';
import { ortRuntime } from '../../dist/compute/runtime.js';
import { openSafetensors, readTensor, writeSafetensors } from '../../dist/files/safetensors.js';
import { LongVLM } from '../../dist/index.js';
import { projectFrames } from '../../dist/load/projectFrames.js';
import { openTower, towerTensors } from '../../dist/tower/families.js';
import { frameGeometry } from '../../dist/tower/pixels.js';
import { mlpPooled } from '../../dist/tower/siglip/connectors.js';
import { Tower } from '../../dist/tower/tower.js';
import { openVideo } from '../../dist/video/openVideo.js';
import { loadGguf, writeGguf } from '../fixtures/gguf/write.js';
import { pico, relativeError } from '../fixtures/index.js';
import { loadTensors, type Tensors, temporaryFolder, tensorOf } from '../fixtures/vision/index.js';

const here = (path: string) => fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url));
const folder = await temporaryFolder();
process.env.LONGVLM_CACHE = join(folder, 'cache');
let folders = 0;

const weights = here('siglip/model.safetensors');
const expectedFile = here('siglip/expected.safetensors');
const expected = (name: string) => tensorOf(expectedFile, name);
const vision = {
  ...{ model_type: 'siglip_vision_model', hidden_size: 16, intermediate_size: 32, num_hidden_layers: 3 },
  ...{ num_attention_heads: 2, image_size: 8, patch_size: 4 },
};

type Files = Readonly<Record<string, unknown>>;

/** A folder with JSON files, and weights. */
async function folderWith(files: Files, from: string | Tensors = weights): Promise<string> {
  const path = join(folder, String(folders++));
  await mkdir(path);
  for (const [name, content] of Object.entries(files)) await writeFile(join(path, name), JSON.stringify(content));
  if (typeof from === 'string') await copyFile(from, join(path, 'model.safetensors'));
  else await writeSafetensors(join(path, 'model.safetensors'), from);
  return path;
}

async function patchesOf(path: string): Promise<Float32Tensor> {
  const tower = await Tower.open({ path, precision: 'float32', device: 'cpu', threads: 1, lazy: true });
  try {
    const output = await tower.encodePixels(await expected('pixels'), {});
    expect(output.summaries).toBeUndefined();
    return output.patches;
  } finally {
    await tower.dispose();
  }
}

const names = [...(await openSafetensors(expectedFile)).tensors.keys()];
const starting = (word: string) => names.filter((name) => name.startsWith(word)).map((name) => name.slice(word.length));
const llava = (settings: string) => ({ model_type: 'llava', vision_config: vision, ...JSON.parse(settings) });
const full = '{"vision_feature_layer": -2, "vision_feature_select_strategy": "full"}';

describe('a SigLIP tower', () => {
  test.each(starting('patches '))('gives a LLaVA the states %s', async (settings) => {
    const patches = await patchesOf(await folderWith({ 'config.json': llava(settings) }));
    const due = await expected(`patches ${settings}`);
    expect(patches.dims).toEqual(due.dims);
    expect(relativeError(patches.data, due.data)).toBeLessThan(1e-5);
  });

  test.each(starting('embeddings '))('is projected by the LLaVA that it is in, with %s', async (settings) => {
    const projector = await folderWith({ 'config.json': llava(settings) });
    const { tokens } = await projectFrames(await expected('pixels'), { projector, threads: 1 });
    expect(relativeError(tokens.data, (await expected(`embeddings ${settings}`)).data)).toBeLessThan(1e-5);
  });

  test.each([
    ['siglip_vision_model', vision],
    ['siglip', { model_type: 'siglip', vision_config: { ...vision, model_type: undefined } }],
  ])('gives its last hidden state, normalised, by itself: %s', async (_, config) => {
    const path = await folderWith({ 'config.json': config });
    expect(relativeError((await patchesOf(path)).data, (await expected('last')).data)).toBeLessThan(1e-5);
    const { config: made } = await openTower(path);
    expect(made).toMatchObject({ patches: 4, grid: [2, 2], summaries: 0, mean: [0.5, 0.5, 0.5], resize: 'squash' });
  });

  test('comes with the projector of a LLaVA in one mmproj file, without the layers above the wanted one', async () => {
    const tensors = await loadTensors(weights);
    const path = await writeGguf(join(folder, 'llava.gguf'), mmproj(tensors, 2));
    const { tokens } = await projectFrames(await expected('pixels'), { projector: path, threads: 1 });
    // llama.cpp's GELU of the projector is another one, but the file's own word for it is the same.
    expect(relativeError(tokens.data, (await expected(`embeddings ${full}`)).data)).toBeLessThan(1e-5);
    expect((await openTower(path)).config).toMatchObject({ resize: 'squash', filter: 'bicubic' });
  });

  test('is refused where it takes pictures of any size', async () => {
    const path = await folderWith({ 'config.json': { model_type: 'siglip2', vision_config: {} } });
    await expect(openTower(path)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_UNSUPPORTED',
      message: expect.stringMatching(/config\.json: SigLIP 2 NaFlex takes pictures of any size\. Use a SigLIP 2 of a/),
    });
  });

  test('is refused with a tensor that it is not computed with', async () => {
    const other = { type: 'F32', shape: [1], data: Float32Array.of(1) } as const;
    const tensors = { ...(await loadTensors(weights)), 'model.vision_tower.encoder.layers.0.gate': other };
    await expect(openTower(await folderWith({ 'config.json': llava(full) }, tensors))).rejects.toThrow(
      /tensor model\.vision_tower\.encoder\.layers\.0\.gate is no part of a SigLIP vision tower/,
    );
  });
});

/** The first `layers` layers of a tower and its projector, by llama.cpp's names. */
function mmproj(tensors: Tensors, layers: number) {
  const places: Readonly<Record<string, string>> = {
    'embeddings.patch_embedding': 'v.patch_embd',
    'embeddings.position_embedding': 'v.position_embd',
  };
  const parts: Readonly<Record<string, string>> = {
    ...{ layer_norm1: 'ln1', layer_norm2: 'ln2', 'mlp.fc1': 'ffn_up', 'mlp.fc2': 'ffn_down' },
    ...{ 'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v' },
    'self_attn.out_proj': 'attn_out',
  };
  const renamed = (name: string): string | undefined => {
    const [, place, of] = /^model\.(?:vision_tower\.)?(.+)\.(weight|bias)$/.exec(name)!;
    if (place!.startsWith('multi_modal_projector')) return `mm.${place!.endsWith('1') ? 0 : 2}.${of}`;
    const [, index, part] = /^encoder\.layers\.(\d+)\.(.+)$/.exec(place!) ?? [];
    if (index !== undefined) return Number(index) < layers ? `v.blk.${index}.${parts[part!]}.${of}` : undefined;
    return places[place!] && `${places[place!]}.${of}`;
  };
  const named = Object.entries(tensors).flatMap(([name, { shape, data }]) => {
    const other = name.includes('.head.') ? undefined : renamed(name);
    return other ? [[other, { type: 'F32' as const, shape, data: data as Float32Array }] as const] : [];
  });
  const metadata = {
    ...{ 'general.architecture': 'clip', 'clip.projector_type': 'mlp', 'clip.use_gelu': true },
    ...{ 'clip.vision.image_size': 8, 'clip.vision.patch_size': 4, 'clip.vision.embedding_length': 16 },
    ...{ 'clip.vision.feed_forward_length': 32, 'clip.vision.attention.head_count': 2 },
    ...{ 'clip.vision.attention.layer_norm_epsilon': 1e-6, 'clip.vision.feature_layer': [layers] },
    ...{ 'clip.vision.image_mean': [0.5, 0.5, 0.5], 'clip.vision.image_std': [0.5, 0.5, 0.5] },
  };
  return { metadata: new Map(Object.entries(metadata)), tensors: new Map(named) };
}

const towers = {
  llava_onevision: here('towers/llava_onevision'),
  smolvlm: here('towers/smolvlm'),
};
// In these folders: `.` for Hugging Face's files.
const files = [
  ['llava_onevision', '.'],
  ['smolvlm', '.'],
  ['smolvlm', 'mmproj.gguf'],
] as const;

describe('a tower that ends with its projector', () => {
  // Both were seen at a third of these bounds: rounding of weights and values to 11 bits, and to 7.
  const bounds = { float32: 1e-5, float16: 3e-3, int8: 6e-2 } as const;
  const precisions = Object.keys(bounds) as (keyof typeof bounds)[];
  test.each(files.flatMap((file) => precisions.map((precision) => [precision, ...file] as const)))(
    "gives the reference's tokens in %s: %s, %s",
    async (precision, family, file) => {
      const reference = join(towers[family], 'expected.safetensors');
      const due = (await tensorOf(reference, 'tokens')).data;
      const pixels = await tensorOf(reference, 'pixels');
      const { tokens, ending } = await projectFrames(pixels, {
        ...{ projector: join(towers[family], file), precision, threads: 1 },
      });
      const all = Float32Array.of(...tokens.data, ...(ending?.data ?? []));
      expect(tokens.dims).toEqual([4, family === 'smolvlm' ? 4 : 9, 96]);
      expect(ending?.dims).toEqual(family === 'smolvlm' ? undefined : [96]);
      const error = relativeError(all, due);
      expect(error).toBeLessThan(bounds[precision]);
      // Rounding shows, or nothing would be rounded.
      if (precision !== 'float32') expect(error).toBeGreaterThan(bounds.float32);
    },
  );

  test.each(files)('describes its tokens: %s, %s', async (family, file) => {
    const { config, projection, template } = await openTower(join(towers[family], file));
    expect(config).toMatchObject({ channels: 96, summaries: 0, heads: 1 });
    expect(config.grid[0] * config.grid[1]).toBe(config.patches);
    expect(projection).toMatchObject({ width: 96 });
    expect(template).toBe(family);
  });

  test('has another identity with another connector or ending', async () => {
    const identity = async (path: string) => {
      const tower = await Tower.open({ path, precision: 'float32', device: 'cpu', threads: 1, lazy: true });
      await tower.dispose();
      return tower.identity;
    };
    const config = JSON.parse(await readFile(join(towers.llava_onevision, 'config.json'), 'utf8'));
    const tensors = await loadTensors(join(towers.llava_onevision, 'model.safetensors'));
    const edited = (name: string) => {
      const { shape, data } = tensors[name]!;
      const changed = (data as Float32Array).slice();
      changed[0]! += 1;
      return { ...tensors, [name]: { type: 'F32' as const, shape, data: changed } };
    };
    const seen = [
      await identity(await folderWith({ 'config.json': config }, tensors)),
      await identity(await folderWith({ 'config.json': { ...config, projector_hidden_act: 'relu' } }, tensors)),
      await identity(await folderWith({ 'config.json': { ...config, vision_feature_layer: -2 } }, tensors)),
      await identity(await folderWith({ 'config.json': config }, edited('image_newline'))),
      await identity(await folderWith({ 'config.json': config }, edited('multi_modal_projector.linear_2.bias'))),
      await identity(await folderWith({ 'config.json': config, 'preprocessor_config.json': { resample: 2 } }, tensors)),
    ];
    expect(new Set(seen).size).toBe(seen.length);
  });

  test('names the tensors that a download needs, of the whole model', () => {
    const tower = [
      'vision_tower.embeddings.patch_embedding.weight',
      'vision_tower.embeddings.position_embedding.weight',
      'vision_tower.encoder.layers.0.mlp.fc1.weight',
    ];
    const text = ['language_model.model.norm.weight'];
    const projector = ['multi_modal_projector.linear_1.weight', 'image_newline'];
    expect(towerTensors([...text, ...projector, ...tower])).toEqual([...tower, ...projector]);
    expect(towerTensors([...text, projector[0]!, ...tower])).toEqual(tower);
    const connector = 'model.connector.modality_projection.proj.weight';
    expect(towerTensors([...text, connector, ...tower])).toEqual([...tower, connector]);
  });

  test.each([
    [
      'scale_factor',
      { scale_factor: 3 },
      /scale_factor 3 does not divide the 8 patches of a row|proj\.weight has shape/,
    ],
    ['do_resize', {}, /do_resize false leaves frames in their own size/, { do_resize: false }],
    [
      'max_image_size',
      {},
      /makes pictures of 32 pixels, where the tower .* takes 64/,
      { max_image_size: { longest_edge: 32 } },
    ],
    ['resample', {}, /Expected 1 \(Lanczos\), 2 \(bilinear\) or 3 \(bicubic\) for resample/, { resample: 0 }],
  ] as readonly [string, object, RegExp, object?][])(
    'is refused with another %s',
    async (_, change, message, preprocessor = {}) => {
      const config = JSON.parse(await readFile(join(towers.smolvlm, 'config.json'), 'utf8'));
      const path = await folderWith(
        { 'config.json': { ...config, ...change }, 'preprocessor_config.json': preprocessor },
        join(towers.smolvlm, 'model.safetensors'),
      );
      await expect(openTower(path)).rejects.toThrow(message);
    },
  );

  test('is refused without the tensor that its connector needs', async () => {
    const content = await loadGguf(join(towers.smolvlm, 'mmproj.gguf'));
    content.tensors.delete('mm.model.fc.weight');
    const path = await writeGguf(join(folder, 'without.gguf'), content);
    await expect(openTower(path)).rejects.toThrow(/tensor mm\.model\.fc\.weight is missing/);
  });
});

describe('a LLaVA-OneVision or LLaVA-Video as its authors publish it', () => {
  const authors = async (change: object) => {
    const path = towers.llava_onevision;
    const tensors = Object.entries(await loadTensors(join(path, 'model.safetensors'))).map(([name, tensor]) => {
      const tower = name.replace('vision_tower.', 'model.vision_tower.vision_tower.vision_model.');
      const own = tower.replace('multi_modal_projector.linear_1', 'model.mm_projector.0');
      const other = own.replace('multi_modal_projector.linear_2', 'model.mm_projector.2');
      return [other.replace('image_newline', 'model.image_newline'), tensor] as const;
    });
    const { vision_config } = JSON.parse(await readFile(join(path, 'config.json'), 'utf8'));
    const folder = await folderWith({}, Object.fromEntries(tensors));
    await mkdir(join(folder, 'siglip'));
    // Its last layer is not in the model's weights.
    const whole = { ...vision_config, num_hidden_layers: vision_config.num_hidden_layers + 1 };
    await writeFile(join(folder, 'siglip/config.json'), JSON.stringify(whole));
    const config = { model_type: 'llava_qwen', mm_vision_tower: './siglip', ...change };
    await writeFile(join(folder, 'config.json'), JSON.stringify(config));
    return folder;
  };
  const reference = join(towers.llava_onevision, 'expected.safetensors');

  test("gives the tokens of transformers' LLaVA-OneVision", async () => {
    const pixels = await tensorOf(reference, 'pixels');
    const { tokens, ending } = await projectFrames(pixels, { projector: await authors({}), threads: 1 });
    const all = Float32Array.of(...tokens.data, ...ending!.data);
    expect(relativeError(all, (await tensorOf(reference, 'tokens')).data)).toBeLessThan(1e-5);
  });

  test.each(starting('authors '))('pools, and ends rows or frames: %s', async (how) => {
    const [mm_spatial_pool_mode, mm_newline_position] = how.split(' ');
    const projector = await authors({ mm_spatial_pool_mode, mm_newline_position });
    const { tokens, ending } = await projectFrames(await tensorOf(reference, 'pixels'), { projector, threads: 1 });
    const due = await expected(`authors ${how}`);
    expect(ending).toBeUndefined();
    expect(tokens.dims).toEqual(due.dims);
    expect(relativeError(tokens.data, due.data)).toBeLessThan(1e-5);
    const { config } = await openTower(projector);
    expect(config.grid[0] * config.grid[1]).toBe(due.dims[1]);
  });

  test.each([
    [
      { mm_vision_tower: 'google/siglip-other' },
      /mm_vision_tower google\/siglip-other, which is no folder here\. Download/,
    ],
    [{ mm_spatial_pool_mode: 'max' }, /Expected .*bilinear.*average.* for mm_spatial_pool_mode but received 'max'/],
    [{ add_faster_video: true }, /for add_faster_video but received true/],
  ])('is refused with %j', async (change, message) => {
    await expect(openTower(await authors(change))).rejects.toThrow(message);
  });

  test('is known to be of the size that its authors take', async () => {
    const path = await authors({ mm_vision_tower: 'google/siglip-so400m-patch14-384' });
    await expect(openTower(path)).rejects.toThrow(/it has no layer 3, where its configuration asks for 26 layers/);
  });
});

test.each([4, 5, 27])('pooling halves %i rows and columns as torch interpolates', async (side) => {
  const identity = Float32Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1);
  await writeSafetensors(join(folder, `identity${side}.safetensors`), {
    one: { type: 'F32', shape: [3, 3], data: identity },
    other: { type: 'F32', shape: [3, 3], data: identity },
  });
  const { tensors } = await openSafetensors(join(folder, `identity${side}.safetensors`));
  const [up, down] = ['one', 'other'].map((name) => ({ weight: tensors.get(name)! }));
  const graph = new GraphBuilder('pooling');
  const connector = mlpPooled(side, { up: up!, down: down!, activation: 'linear' });
  const values = graph.input('values', ['frames', side * side, 3]);
  graph.output('pooled', connector.add(graph, values), ['frames', connector.count, 3]);
  const session = await ortRuntime({ device: 'cpu', threads: 1 }).open(await graph.build(), {
    name: 'Pooling',
    batch: 1,
    lazy: false,
  });
  try {
    const due = await expected(`pooled ${side}`);
    const grid = await expected(`grid ${side}`);
    const pooled = float32Tensor(new Float32Array(connector.count * 3), [1, connector.count, 3]);
    const made = await session.run({ values: float32Tensor(grid.data, [1, side * side, 3]) }, { pooled }, {});
    expect(relativeError(made.pooled!.data, due.data)).toBeLessThan(1e-5);
  } finally {
    await session.dispose();
  }
});

describe("a family's frames", () => {
  const size = 64;
  const wholeSize = { height: size, width: size };
  const sized = { ...vision, image_size: size, patch_size: 32 };
  const configs: Readonly<Record<string, Files>> = {
    siglip2: {
      'config.json': sized,
      'preprocessor_config.json': { image_processor_type: 'SiglipImageProcessor', size: wholeSize, resample: 2 },
    },
    smolvlm: {
      'config.json': { model_type: 'smolvlm', vision_config: sized },
      'preprocessor_config.json': {
        ...{ image_processor_type: 'SmolVLMImageProcessor', size: { longest_edge: 4 * size } },
        ...{ max_image_size: { longest_edge: size }, video_sampling: { video_size: { longest_edge: size } } },
      },
    },
    llava_onevision: {
      'config.json': { model_type: 'llava_onevision', vision_config: sized },
      'preprocessor_config.json': {
        image_processor_type: 'LlavaOnevisionImageProcessor',
        size: { height: 9, width: 9 },
      },
      'video_preprocessor_config.json': { video_processor_type: 'LlavaOnevisionVideoProcessor', size: wholeSize },
    },
  };
  const resized = async (): Promise<Tensors> => {
    const zeros = (shape: number[]) => ({
      type: 'F32' as const,
      shape,
      data: new Float32Array(shape.reduce((product, dim) => product * dim, 1)),
    });
    return {
      ...(await loadTensors(weights)),
      'model.vision_tower.embeddings.patch_embedding.weight': zeros([16, 3, 32, 32]),
      'connector.modality_projection.proj.weight': zeros([16, 64]),
      image_newline: zeros([16]),
    };
  };

  test.each(Object.keys(configs).flatMap((family) => ['wide', 'high', 'small'].map((picture) => [family, picture])))(
    'of %s are made of a %s picture as by its processor',
    async (family, picture) => {
      const { config } = await openTower(await folderWith(configs[family!]!, await resized()));
      const video = await openVideo(here(`siglip/${picture}.png`));
      try {
        const geometry = frameGeometry(config);
        for await (const { frames } of video.segments({ frames: 1, segmentFrames: 1, geometry })) {
          const { tensors } = await openSafetensors(expectedFile);
          const due = (await readTensor(tensors.get(`${family} ${picture}`)!)) as Uint8Array;
          const off = Float64Array.from(frames, (value, index) => Math.abs(value - due[index]!));
          expect(off.reduce((sum, value) => sum + value, 0) / off.length).toBeLessThan(1);
        }
      } finally {
        await video.dispose();
      }
    },
  );
});

test('a video of LLaVA-OneVision ends with its own embedding, which is counted', async () => {
  const { d: width } = pico.expected.config;
  const tensors = await loadTensors(join(towers.llava_onevision, 'model.safetensors'));
  const cut = (name: string, shape: number[]) => ({
    [name]: { type: 'F32' as const, shape, data: (tensors[name]!.data as Float32Array).slice(0, elementCount(shape)) },
  });
  const vision = await folderWith(
    { 'config.json': JSON.parse(await readFile(join(towers.llava_onevision, 'config.json'), 'utf8')) },
    {
      ...{ ...tensors, ...cut('image_newline', [width]) },
      ...cut('multi_modal_projector.linear_2.weight', [width, 96]),
      ...cut('multi_modal_projector.linear_2.bias', [width]),
    },
  );
  const vlm = await LongVLM.load({
    ...{ vision, llm: pico.llm, device: 'cpu', gpu: 'off', threads: 1, template: 'long_vlm_v1' },
    ...{ frames: 4, segmentFrames: 2, tokensPerSegment: 5, globalLayers: 0 },
  });
  try {
    expect([vlm.tokenCount, vlm.tokenCountOf('local'), vlm.tokenCountOf('global')]).toEqual([11, 11, 0]);
    const features = await vlm.encode(pico.video);
    expect(features.tokenCount).toBe(10);
    const { data, dims } = await vlm.project(features);
    expect(dims).toEqual([11, width]);
    expect(data.subarray(0, 10 * width)).toEqual(features.local.data);
    expect(data.subarray(10 * width)).toEqual((tensors.image_newline!.data as Float32Array).subarray(0, width));
    const [shorter, longer] = [1, 2].map((tokens) => vlm.requiredContextSize(features, '?', { maxTokens: tokens }));
    const answer = await vlm.ask(features, '?', { maxTokens: 2, temperature: 0 });
    expect(longer! - shorter!).toBe(1);
    expect(answer.text).toEqual(expect.any(String));
  } finally {
    await vlm.dispose();
  }
});
