// Against transformers: InternVL's vision tower and projector, in the three layouts that they come in.
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { openSafetensors, readTensor, writeSafetensors } from '../../dist/files/safetensors.js';
import { type Float32Tensor, type ProjectFramesOptions, projectFrames, VideoEncoder } from '../../dist/index.js';
import { openTower, towerTensors } from '../../dist/tower/families.js';
import { frameGeometry } from '../../dist/tower/pixels.js';
import { Tower } from '../../dist/tower/tower.js';
import { openVideo } from '../../dist/video/openVideo.js';
import { type GgufContent, loadGguf, writeGguf } from '../fixtures/gguf/write.js';
import { cosine, internvl, relativeError } from '../fixtures/index.js';
import { loadTensors, type Tensors, temporaryFolder, tensorOf } from '../fixtures/vision/index.js';

const folder = await temporaryFolder();
let folders = 0;

// As eight-bit matrices are written into it.
const before = process.env.LONGVLM_CACHE;
process.env.LONGVLM_CACHE = join(folder, 'cache');
afterAll(() => {
  if (before === undefined) delete process.env.LONGVLM_CACHE;
  else process.env.LONGVLM_CACHE = before;
});

const expected = (name: string) => tensorOf(internvl.expected, name);
const pixels = await expected('pixels');

async function tokens(projector: string, options: Partial<ProjectFramesOptions> = {}, given = pixels) {
  return (await projectFrames(given, { projector, threads: 1, ...options })).tokens;
}

async function difference(projector: string, name: string, options: Partial<ProjectFramesOptions> = {}) {
  const [found, due] = [await tokens(projector, options), await expected(name)];
  expect(found.dims).toEqual(due.dims);
  return relativeError(found.data, due.data);
}

type Change = { readonly config?: object; readonly vision?: object; readonly files?: object; tensors?: Tensors };

/** A copy of a folder with a change. */
async function changed(from: string, { config, vision, files, tensors }: Change = {}): Promise<string> {
  const path = join(folder, String(folders++));
  await mkdir(path);
  const own = JSON.parse(await readFile(join(from, 'config.json'), 'utf8'));
  const whole = { ...own, ...config, vision_config: { ...own.vision_config, ...vision } };
  const preprocessor = JSON.parse(await readFile(join(from, 'preprocessor_config.json'), 'utf8'));
  const all = { 'config.json': whole, 'preprocessor_config.json': preprocessor, ...files };
  for (const [name, content] of Object.entries(all)) await writeFile(join(path, name), JSON.stringify(content));
  if (tensors) await writeSafetensors(join(path, 'model.safetensors'), tensors);
  else await copyFile(join(from, 'model.safetensors'), join(path, 'model.safetensors'));
  return path;
}

async function changedMmproj(change: (content: GgufContent) => void): Promise<string> {
  const content = await loadGguf(internvl.mmproj);
  change(content);
  return writeGguf(join(folder, `${folders++}.gguf`), content);
}

describe('the projected tokens of an InternVL', () => {
  test.each([
    ["transformers' layout", internvl.hub],
    ["its authors' layout", internvl.authors],
    ['an mmproj file', internvl.mmproj],
  ])('are those of transformers from %s', async (_, path) => {
    expect(await difference(path, 'tokens {}')).toBeLessThan(1e-5);
  });

  test('are those of the hidden state and the activation that config.json names', async () => {
    const { tensors } = await openSafetensors(internvl.expected);
    const settings = [...tensors.keys()].filter((name) => name.startsWith('tokens {"'));
    expect(settings.length).toBeGreaterThan(2);
    for (const name of settings) {
      const path = await changed(internvl.hub, { config: JSON.parse(name.slice('tokens '.length)) });
      expect(await difference(path, name), name).toBeLessThan(1e-5);
    }
    const path = await changed(internvl.authors, { config: { select_layer: -2 } });
    expect(await difference(path, 'tokens {"vision_feature_layer": -2}')).toBeLessThan(1e-5);
  });

  test('with RMS norms, normalised queries and keys and a norm at the end, as far as a layout has these', async () => {
    expect(await difference(internvl.six, 'six')).toBeLessThan(1e-5);
    expect(await difference(internvl.sixAuthors, 'six authors')).toBeLessThan(1e-5);
  });

  test('with these from an mmproj file, which names none of them', async () => {
    const six = await loadTensors(join(internvl.sixAuthors, 'model.safetensors'));
    const path = await changedMmproj(({ metadata, tensors }) => {
      for (const [key, value] of [
        ['embedding_length', 16],
        ['feed_forward_length', 32],
        ['block_count', 2],
        ['attention.head_count', 2],
      ] as const)
        metadata.set(`clip.vision.${key}`, value);
      tensors.clear();
      for (const [name, tensor] of Object.entries(six))
        for (const [named, part] of mmprojTensors(name, tensor)) tensors.set(named, part);
    });
    expect(await difference(path, 'six authors')).toBeLessThan(1e-5);
  });

  test('in half precision, at no more than transformers loses by it', async () => {
    const [due, half] = [await expected('tokens {}'), await expected('half')];
    const lost = relativeError(half.data, due.data);
    for (const path of [internvl.hub, internvl.authors, internvl.mmproj])
      expect(await difference(path, 'tokens {}', { precision: 'float16' })).toBeLessThan(Math.max(lost, 1e-3));
  });

  // On random weights; the projector is not rounded.
  test('in eight bits, at a hundredth of the largest value', async () => {
    for (const path of [internvl.hub, internvl.authors, internvl.mmproj])
      expect(await difference(path, 'tokens {}', { precision: 'int8' })).toBeLessThan(1e-2);
  });
});

/** A tensor of the authors by llama.cpp's names. */
function mmprojTensors(name: string, { shape, data }: Tensors[string]) {
  const names = [
    ['vision_model.embeddings.class_embedding', 'v.class_embd'],
    ['vision_model.embeddings.patch_embedding', 'v.patch_embd'],
    ['vision_model.embeddings.position_embedding', 'v.position_embd.weight'],
    ['vision_model.encoder.layers', 'v.blk'],
    ['attn.proj', 'attn_out'],
    ['attn.q_norm', 'attn_q_norm'],
    ['attn.k_norm', 'attn_k_norm'],
    ['norm1', 'ln1'],
    ['norm2', 'ln2'],
    ['mlp.fc1', 'ffn_up'],
    ['mlp.fc2', 'ffn_down'],
    ['mlp1', 'mm.model.mlp'],
  ] as const;
  const named = names.reduce((text, [from, to]) => text.replace(from, to), name).replace(/ls\d$/, '$&.weight');
  const values = data as Float32Array;
  if (!named.includes('attn.qkv')) return [[named, { type: 'F32', shape, data: values }] as const];
  const [rows, channels] = shape as [number, number];
  return ['q', 'k', 'v'].map((part, index) => {
    const size = values.length / 3;
    const own = values.slice(index * size, (index + 1) * size);
    return [
      named.replace('attn.qkv', `attn_${part}`),
      { type: 'F32', shape: [rows / 3, channels], data: own },
    ] as const;
  });
}

describe('the tower', () => {
  test('says what its tokens are', async () => {
    const { config, projection, template, details } = await openTower(internvl.hub);
    expect(config).toMatchObject({ patches: 9, grid: [3, 3], channels: 24, summaries: 0, heads: 1, imageSize: 42 });
    expect(projection).toEqual({ kind: 'pixel_shuffle_layernorm_mlp2x_gelu', width: 24 });
    expect([template, details.note]).toEqual(['internvl', expect.stringMatching(/one picture, without the tiles/)]);
  });

  test('is identified by its projector, too, and by all settings that tokens depend on', async () => {
    const tensors = await loadTensors(join(internvl.hub, 'model.safetensors'));
    const name = 'model.multi_modal_projector.linear_2.bias';
    const bias = { ...tensors[name]!, data: new Float32Array(24) };
    const mean = { image_processor_type: 'GotOcr2ImageProcessorFast', image_mean: [0, 0, 0] };
    const paths = [
      internvl.hub,
      await changed(internvl.hub, { tensors: { ...tensors, [name]: bias } }),
      await changed(internvl.hub, { config: { vision_feature_layer: -2 } }),
      await changed(internvl.hub, { config: { projector_hidden_act: 'gelu_new' } }),
      await changed(internvl.hub, { vision: { layer_norm_eps: 1e-5 } }),
      await changed(internvl.hub, { vision: { hidden_act: 'silu' } }),
      await changed(internvl.hub, { files: { 'preprocessor_config.json': mean } }),
    ];
    const identities = await Promise.all(
      paths.map(async (path) => {
        const tower = await Tower.open({ path, precision: 'float32', device: 'cpu', lazy: true });
        await tower.dispose();
        return tower.identity;
      }),
    );
    expect(new Set(identities).size).toBe(paths.length);
  });

  test('is found among the tensors of a model, with its projector, and nothing else', async () => {
    for (const path of [internvl.hub, internvl.six, internvl.authors]) {
      const own = [...(await openSafetensors(join(path, 'model.safetensors'))).tensors.keys()];
      const others = ['language_model.model.norm.weight', 'model.language_model.norm.weight', 'lm_head.weight'];
      expect(towerTensors([...others, ...own])).toEqual(own);
    }
  });
});

describe("a picture's pixels", () => {
  async function pixelsOf(name: string, path: string): Promise<Uint8Array> {
    const { config } = await openTower(path);
    const video = await openVideo(internvl.picture(name));
    try {
      for await (const { frames } of video.segments({ frames: 1, segmentFrames: 1, geometry: frameGeometry(config) }))
        return frames;
      throw new Error('no frame');
    } finally {
      await video.dispose();
    }
  }
  const reference = async (name: string) =>
    (await readTensor((await openSafetensors(internvl.expected)).tensors.get(name)!)) as Uint8Array;

  test.each(['wide', 'tall', 'small'])('are those of the image and the video processor: %s', async (name) => {
    const found = await pixelsOf(name, internvl.hub);
    for (const due of [await reference(`image ${name}`), await reference(`video ${name}`)]) {
      const off = found.reduce((sum, value, index) => sum + Math.abs(value - due[index]!), 0) / due.length;
      expect(found.length).toBe(due.length);
      expect(off).toBeLessThan(1);
    }
  });

  test('are made in the same way in each layout', async () => {
    const rules = async (path: string) => {
      const { config } = await openTower(path);
      return [frameGeometry(config), ...[...config.mean, ...config.std, config.rescale].map(Math.fround)];
    };
    const due = await rules(internvl.hub);
    for (const path of [internvl.authors, internvl.mmproj]) expect(await rules(path)).toEqual(due);
  });

  test('give the tokens of a video', async () => {
    const { mean, std } = (await openTower(internvl.mmproj)).config;
    const due = await reference('image tall');
    const area = due.length / 3;
    const normalized = Float32Array.from({ length: due.length }, (_, index) => {
      const channel = Math.floor(index / area);
      return (due[(index % area) * 3 + channel]! / 255 - mean[channel]!) / std[channel]!;
    });
    const given: Float32Tensor = { type: 'float32', data: normalized, dims: [1, 3, 42, 42] };
    const encoder = await VideoEncoder.create({
      ...{ vision: internvl.mmproj, device: 'cpu', threads: 1, frames: 1, segmentFrames: 1, tokensPerSegment: 9 },
    });
    try {
      const { local } = await encoder.encode(internvl.picture('tall'));
      expect(local.dims).toEqual([1, 9, 24]);
      expect(cosine(local.data, (await tokens(internvl.mmproj, {}, given)).data)).toBeGreaterThan(0.999);
    } finally {
      await encoder.dispose();
    }
  });

  test('are normalised as the video processor says, before the image processor', async () => {
    const mean = async (files: object) => (await openTower(await changed(internvl.hub, { files }))).config.mean;
    const video = { video_processor_type: 'InternVLVideoProcessor', image_mean: [0.1, 0.2, 0.3] };
    const nested = { video_processor: { ...video, image_mean: [0.4, 0.5, 0.6] } };
    expect(await mean({})).toEqual([0.485, 0.456, 0.406]);
    expect(await mean({ 'video_preprocessor_config.json': video })).toEqual([0.1, 0.2, 0.3]);
    expect(await mean({ 'video_preprocessor_config.json': video, 'processor_config.json': nested })).toEqual([
      0.4, 0.5, 0.6,
    ]);
  });
});

const tensors = await loadTensors(join(internvl.authors, 'model.safetensors'));

describe('refused is', () => {
  const without = async (from: string, name: string) => {
    const { [name]: _, ...rest } = await loadTensors(join(from, 'model.safetensors'));
    return changed(from, { tensors: rest });
  };
  const zero = { type: 'F32', shape: [24], data: new Float32Array(24) } as const;

  test.each<[string, () => Promise<string>, RegExp]>([
    [
      'a projector that is not there',
      () => without(internvl.hub, 'model.multi_modal_projector.linear_1.bias'),
      /tensor model\.multi_modal_projector\.linear_1\.bias is missing/,
    ],
    [
      'a scale that is not there',
      () => without(internvl.authors, 'vision_model.encoder.layers.1.ls1'),
      /ls1 is missing/,
    ],
    [
      'a layer that is not there',
      () => changed(internvl.hub, { vision: { num_hidden_layers: 5 } }),
      /it has no layer 4, where its configuration asks for 5/,
    ],
    [
      'another tensor',
      () => changed(internvl.authors, { tensors: { ...tensors, 'mlp2.0.weight': zero } }),
      /tensor mlp2\.0\.weight is no part of a InternVL vision tower/,
    ],
    ['the old shuffle', () => changed(internvl.authors, { config: { ps_version: 'v1' } }), /'v2' for ps_version/],
    ['no version of it', () => changed(internvl.authors, { config: { ps_version: undefined } }), /ps_version/],
    [
      'another size of pictures',
      () => changed(internvl.authors, { config: { force_image_size: 56 } }),
      /force_image_size 56 is not vision_config\.image_size 42/,
    ],
    [
      'another ratio',
      () => changed(internvl.hub, { config: { downsample_ratio: 0.4 } }),
      /downsample_ratio 0\.4 is no whole part/,
    ],
    [
      'a ratio that leaves patches over',
      () => changed(internvl.hub, { config: { downsample_ratio: 0.25 } }),
      /6 rows and columns of patches cannot be joined/,
    ],
    [
      'several hidden states',
      () => changed(internvl.hub, { config: { vision_feature_layer: [-1, 1] } }),
      /vision_feature_layer is a list/,
    ],
    [
      'the class token among the patches',
      () => changed(internvl.hub, { config: { vision_feature_select_strategy: 'full' } }),
      /vision_feature_select_strategy/,
    ],
    [
      'a rectangle',
      () => changed(internvl.hub, { vision: { image_size: [42, 56] } }),
      /vision_config\.image_size 56x42 is not square/,
    ],
    [
      'a tower without positions',
      () => changed(internvl.hub, { vision: { use_absolute_position_embeddings: false } }),
      /use_absolute_position_embeddings/,
    ],
    [
      'a lost layer of an mmproj file',
      () => changedMmproj(({ metadata }) => metadata.set('clip.vision.block_count', 5)),
      /block_count 5 is not the number of its layers, 4/,
    ],
    [
      'an mmproj file without the shuffle',
      () => changedMmproj(({ metadata }) => metadata.delete('clip.vision.projector.scale_factor')),
      /scale_factor/,
    ],
    [
      'another tensor of an mmproj file',
      () => changedMmproj(({ tensors }) => tensors.set('v.post_ln.weight', { ...zero, type: 'F32' })),
      /tensor v\.post_ln\.weight is no part/,
    ],
  ])('%s', async (_, path, message) => {
    const opened = openTower(await path());
    await expect(opened).rejects.toThrow(message);
    await expect(opened).rejects.toHaveProperty('code', expect.stringMatching(/^ERR_LONGVLM_(WEIGHTS|UNSUPPORTED)$/));
  });
});
