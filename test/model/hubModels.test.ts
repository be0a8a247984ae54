import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeSafetensors } from '../../dist/files/safetensors.js';
import { LongVLM, type LongVLMOptions } from '../../dist/index.js';
import { catalogue as everything } from '../../dist/models/catalogue.js';
import { fetchModel, parseReference } from '../../dist/models/hub/reference.js';
import { start } from '../fixtures/commandLine.js';
import { startHub } from '../fixtures/hub.js';
import { pico, picoOptions } from '../fixtures/index.js';
import { loadTensors, temporaryFolder } from '../fixtures/vision/index.js';

// Without nano, which is in the package.
const catalogue = everything.filter(({ bytes }) => bytes > 0);

const folder = await temporaryFolder();
const { llm: _, projector: __, vision: ___, ...sampling } = picoOptions;
const names = ['HF_ENDPOINT', 'HF_HOME', 'HF_HUB_CACHE', 'HF_HUB_OFFLINE'];
const before = names.map((name) => [name, process.env[name]] as const);
let hub: Awaited<ReturnType<typeof startHub>>;

beforeAll(async () => {
  const read = (path: string) => readFile(path);
  const [mmproj, llm, projector] = await Promise.all([read(pico.mmproj), read(pico.llm), read(pico.projector)]);
  const clip = Object.fromEntries(
    await Promise.all(
      ['config.json', 'preprocessor_config.json', 'model.safetensors'].map(
        async (name) => [name, await read(join(pico.clip, name))] as const,
      ),
    ),
  );
  // The models of the catalogue, as far as anybody can tell here.
  const known = catalogue.map(({ options }) => {
    const { repo, file } = parseReference(options.llm!);
    return [
      repo.name,
      { [file ?? 'model-Q4_K_M.gguf']: llm, [parseReference(options.projector!).file!]: mmproj },
    ] as const;
  });
  hub = await startHub({
    ...Object.fromEntries(known),
    'some/quants': {
      'README.md': Buffer.from('#'),
      'model.Q4_K_M.gguf': llm,
      'model.Q8_0.gguf': llm.subarray(1),
      'mmproj-model-Q8_0.gguf': mmproj.subarray(1),
      'mmproj-model-f16.gguf': mmproj,
    },
    'some/single': { 'ggml-model.gguf': llm },
    'some/split': { 'big-Q4_0-00002-of-00002.gguf': llm.subarray(2), 'big-Q4_0-00001-of-00002.gguf': llm },
    'some/unusual': { 'model.IQ2_XS.gguf': llm, 'model.IQ3_M.gguf': llm },
    'some/clip': clip,
    'some/shards': await shards(),
    'some/transformers5': { ...clip, 'processor_config.json': Buffer.from('{"image_processor":{"do_resize":false}}') },
    'some/videos': { ...clip, 'video_preprocessor_config.json': Buffer.from('{}') },
    'some/projector': { 'mm_projector.safetensors': projector },
    // As LLaVA's own models are published.
    'some/llava': { ...clip, 'mm_projector.bin': await read(join(pico.clip, '../mm_projector.bin')) },
  });
  for (const name of names) delete process.env[name];
  process.env.HF_ENDPOINT = hub.url;
  process.env.HF_HOME = join(folder, 'home');
});
afterAll(() => {
  hub.close();
  for (const [name, value] of before) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
});

/** A LLaVA as transformers writes it, in four shards: two hold the tower, one the projector; the language model's is damaged. */
async function shards(): Promise<Record<string, Buffer>> {
  const tower = Object.entries(await loadTensors(join(pico.clip, 'model.safetensors')));
  const projector = Object.entries(await loadTensors(pico.projector));
  const half = tower.length >> 1;
  const shards = [
    [['language_model.embed_tokens.weight', { type: 'F32', shape: [1], data: new Float32Array(1) }] as const],
    tower.slice(0, half).map(([name, tensor]) => [`vision_tower.vision_model.${name}`, tensor] as const),
    tower.slice(half).map(([name, tensor]) => [`vision_tower.vision_model.${name}`, tensor] as const),
    projector.map(([name, tensor]) => [`model.${name}`, tensor] as const),
  ];
  const files: Record<string, Buffer> = {};
  const map: Record<string, string> = {};
  for (const [index, tensors] of shards.entries()) {
    const name = `model-0000${index + 1}-of-00004.safetensors`;
    const path = join(folder, name);
    await writeSafetensors(path, Object.fromEntries(tensors));
    files[name] = index === 0 ? Buffer.from('damaged') : await readFile(path);
    for (const [tensor] of tensors) map[tensor] = name;
  }
  const vision: unknown = JSON.parse(await readFile(join(pico.clip, 'config.json'), 'utf8'));
  return {
    ...files,
    'config.json': Buffer.from(JSON.stringify({ model_type: 'llava', vision_config: vision })),
    'preprocessor_config.json': await readFile(join(pico.clip, 'preprocessor_config.json')),
    'model.safetensors.index.json': Buffer.from(JSON.stringify({ weight_map: map })),
  };
}

describe('hf: references', () => {
  test.each([
    ['hf:o/r', { repo: { name: 'o/r', revision: 'main' } }],
    ['hf:o/r:Q4_K_M', { repo: { name: 'o/r', revision: 'main' }, quantization: 'Q4_K_M' }],
    ['hf:o/r@v1:f16', { repo: { name: 'o/r', revision: 'v1' }, quantization: 'f16' }],
    ['hf:o/r/sub/x.gguf', { repo: { name: 'o/r', revision: 'main' }, file: 'sub/x.gguf' }],
    ['hf:o/r@abc/x.gguf', { repo: { name: 'o/r', revision: 'abc' }, file: 'x.gguf' }],
  ])('%s', (text, reference) => {
    expect(parseReference(text)).toEqual(reference);
  });

  test.each(['hf:', 'hf:o', 'hf:o/r/', 'hf:o/r/../x', 'hf:o/r:', 'hf:o/r@', 'hf:/o/r', 'hf:o/r//x'])(
    'not %s',
    (text) => {
      expect(() => parseReference(text)).toThrow(RangeError);
    },
  );

  test.each([
    ['hf:some/quants', 'llm', 'model.Q4_K_M.gguf'],
    ['hf:some/quants:q8_0', 'llm', 'model.Q8_0.gguf'],
    ['hf:some/quants', 'projector', 'mmproj-model-f16.gguf'],
    ['hf:some/quants:Q8_0', 'projector', 'mmproj-model-Q8_0.gguf'],
    ['hf:some/quants', 'vision', 'mmproj-model-f16.gguf'],
    ['hf:some/single', 'llm', 'ggml-model.gguf'],
    ['hf:some/split', 'llm', 'big-Q4_0-00001-of-00002.gguf'],
    ['hf:some/projector/mm_projector.safetensors', 'projector', 'mm_projector.safetensors'],
    ['hf:some/llava', 'projector', 'mm_projector.bin'],
  ] as const)('%s as %s is %s', async (text, role, file) => {
    expect((await fetchModel(text, role)).split('/').at(-1)).toBe(file);
  });

  test.each([
    ['hf:some/transformers5', 'vision', 'processor_config.json'],
    ['hf:some/transformers5/model.safetensors', 'vision', 'processor_config.json'],
    ['hf:some/videos', 'vision', 'video_preprocessor_config.json'],
    ['hf:some/llava', 'projector', 'config.json'],
    ['hf:some/llava/mm_projector.bin', 'projector', 'config.json'],
  ] as const)('with %s as %s comes what says how it is computed', async (text, role, name) => {
    expect((await readFile(join(dirname(await fetchModel(text, role)), name))).length).toBeGreaterThan(0);
  });

  test('all shards of a model are downloaded', async () => {
    const first = await fetchModel('hf:some/split:Q4_0', 'llm');
    expect((await readFile(first.replace('00001-of', '00002-of'))).length).toBeGreaterThan(0);
  });

  test.each([
    [
      'hf:some/quants:Q2_K',
      'llm',
      /holds no language model in Q2_K as GGUF\. It has model\.Q4_K_M\.gguf, model\.Q8_0\.gguf\./,
    ],
    ['hf:some/unusual', 'llm', /several models .*: model\.IQ2_XS\.gguf, model\.IQ3_M\.gguf\. Name one/],
    ['hf:some/single', 'projector', /some\/single holds no mmproj file as GGUF\. Name a file/],
    ['hf:some/clip', 'llm', /holds no language model as GGUF/],
  ] as const)('%s as %s is refused', async (text, role, message) => {
    await expect(fetchModel(text, role)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_HUB',
      message: expect.stringMatching(message),
    });
  });
});

describe('LongVLM.load()', () => {
  const loaded = async (options: LongVLMOptions) => {
    const vlm = await LongVLM.load({ ...sampling, ...options });
    await vlm.dispose();
    return vlm;
  };

  test.each(catalogue)('$name by name, and again without a network', async ({ name: model, options }) => {
    const seen = new Set<string>();
    const vlm = await LongVLM.load({
      model,
      device: 'cpu',
      threads: 1,
      onProgress: ({ stage, name }) => stage === 'download' && seen.add(name!),
    });
    await vlm.dispose();
    expect(vlm.preset).toBe(model);
    // Models that were trained on videos have the layout of their towers, which pico's is not.
    const [template, segmentFrames] =
      options.template === undefined ? ['long_vlm_v1', options.segmentFrames] : ['vicuna_v1_1', 10];
    expect([vlm.template.name, vlm.sampling.segmentFrames]).toEqual([template, segmentFrames]);
    if (options.template !== undefined)
      expect(vlm.sampling).toMatchObject({ resize: 'pad', frames: 100, tokensPerSegment: 30, globalLayers: 5 });
    expect(seen.size).toBe(2);
    hub.requests.length = 0;
    const others = { resize: 'crop', frames: 8, segmentFrames: 2, tokensPerSegment: 3, globalLayers: 1 } as const;
    const overridden = await loaded({ model, offline: true, template: 'long_vlm_v1', ...others });
    expect(overridden.sampling).toMatchObject(others);
    expect(overridden.template.name).toBe('long_vlm_v1');
    expect(hub.requests).toEqual([]);
  });

  test('info tells how a model of the catalogue is used, and where it is', async () => {
    const { HF_HOME, HF_ENDPOINT } = process.env;
    const { code, stdout } = await start(['info', '--model', 'bakllava-1', '--offline', '--json'], {
      HF_HOME: HF_HOME!,
      HF_ENDPOINT: HF_ENDPOINT!,
    }).result;
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      preset: { name: 'bakllava-1', frames: 100, tokensPerSegment: 30, globalLayers: 5, template: 'vicuna_v1_1' },
      vision: { path: expect.stringContaining(HF_HOME!), precision: 'float32' },
    });
  });

  test('each model from another place', async () => {
    const vlm = await loaded({ vision: 'hf:some/clip', projector: pico.projector, llm: 'hf:some/quants:Q4_K_M' });
    expect(vlm.preset).toBeUndefined();
    expect(vlm.models).toMatchObject({ vision: { layers: 6 }, projector: { kind: 'linear' } });
    expect(vlm.models.vision.path.startsWith(process.env.HF_HOME!)).toBe(true);
  });

  test('only the shards that hold the tower, or the projector', async () => {
    const asked = () =>
      [...new Set(hub.requests.filter(({ method }) => method === 'GET').map(({ url }) => url.split(/[/?]/).at(-1)!))]
        .filter((name) => /-of-/.test(name))
        .sort();
    hub.requests.length = 0;
    const llm = 'hf:some/quants:Q4_K_M';
    const whole = await LongVLM.load({ ...sampling, vision: pico.clip, projector: pico.projector, llm });
    const vlm = await LongVLM.load({ ...sampling, vision: 'hf:some/shards', projector: pico.projector, llm });
    expect(asked()).toEqual(['model-00002-of-00004.safetensors', 'model-00003-of-00004.safetensors']);
    expect((await vlm.encode(pico.video)).local.data).toEqual((await whole.encode(pico.video)).local.data);
    await Promise.all([vlm.dispose(), whole.dispose()]);
    hub.requests.length = 0;
    await loaded({ vision: pico.clip, projector: 'hf:some/shards', llm });
    expect(asked()).toEqual(['model-00004-of-00004.safetensors']);
    await loaded({ vision: 'hf:some/shards', projector: 'hf:some/shards', llm, offline: true });
  });

  test('a preset with a vision tower and a projector of its own', async () => {
    const vlm = await loaded({ model: 'bakllava-1', projector: pico.projector, vision: pico.clip });
    expect(vlm.models).toMatchObject({ projector: { kind: 'linear' }, vision: { layers: 6 } });
  });

  test('refuses names that nobody knows, before anything else', async () => {
    await expect(loaded({ model: 'gpt-9' })).rejects.toThrow(
      /^Expected nano, llava-1\.5-7b, .* for model but received "gpt-9"$/,
    );
    await expect(loaded({ model: 'bakllava-1', frames: 7 })).rejects.toThrow(/multiple of segmentFrames/);
  });
});
