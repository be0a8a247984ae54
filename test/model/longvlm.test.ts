import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Float32Tensor, float32Tensor } from '../../dist/base/tensor.js';
import { VisionEncoder } from '../../dist/encode/visionEncoder.js';
import { openSafetensors, readTensor, writeSafetensors } from '../../dist/files/safetensors.js';
import { LongVLM, type Progress, VideoFeatures } from '../../dist/index.js';
import { mergeTokens, poolClsTokens } from '../../dist/kernels/index.js';
import { frameGeometry } from '../../dist/tower/pixels.js';
import { readSegments } from '../../dist/video/frames.js';
import { cosine, expected, pico, picoOptions, relativeError } from '../fixtures/index.js';
import { children } from '../fixtures/processes.js';
import { normalizeFrames } from '../fixtures/vision/normalize.js';

const { question } = pico.expected.prompt;
const greedy = { temperature: 0, maxTokens: 16 };
const folder = mkdtempSync(path.join(tmpdir(), 'longvlm-'));
const inFolder = (name: string) => path.join(folder, name);

let vlm: LongVLM;
let features: VideoFeatures;

beforeAll(async () => {
  vlm = await LongVLM.load(picoOptions);
  features = await vlm.encode(pico.video);
});
afterAll(async () => {
  await vlm.dispose();
  rmSync(folder, { recursive: true });
});

/** Features from the reference's stored pixels instead of the file, through tower, merging and pooling. */
async function featuresOfStoredPixels(): Promise<VideoFeatures> {
  const { T, K, E } = pico.expected.config;
  const pixels = await expected('pixel_values_crop');
  const encoder = await VisionEncoder.create({ path: pico.clip, globalLayers: E, threads: 1 });
  try {
    const { patches, cls } = await encoder.forward(pixels);
    const [, N, C] = patches.dims as [number, number, number];
    const merged = await mergeTokens(float32Tensor(patches.data, [T / K, K * N, C]), { heads: 4, keep: 6 });
    return new VideoFeatures({
      local: merged.tokens as Float32Tensor,
      global: (await poolClsTokens(cls)) as Float32Tensor,
      sizes: merged.sizes as Float32Tensor,
      timestamps: features.timestamps,
      sampling: features.sampling,
      tower: encoder.identity,
      source: features.source,
    });
  } finally {
    await encoder.dispose();
  }
}

describe('from stored pixels to tokens', () => {
  test("local, global and video are the reference's within 1e-4, and so are the 16 greedy tokens", async () => {
    const stored = await featuresOfStoredPixels();
    expect(relativeError(stored.local.data, (await expected('local')).data)).toBeLessThan(1e-4);
    expect(relativeError(stored.global.data, (await expected('global')).data)).toBeLessThan(1e-4);
    expect([...stored.sizes.data]).toEqual([...(await expected('sizes')).data]);
    const video = await vlm.project(stored);
    expect(video.dims).toEqual([29, 64]);
    expect(relativeError(video.data, (await expected('video')).data)).toBeLessThan(1e-4);
    const answer = await vlm.ask(stored, question, greedy);
    expect(answer.tokenIds).toEqual(pico.expected.greedy_linear);
  });
});

describe('from the file to patches', () => {
  test("patches of the frames that ffmpeg gives have a cosine above 0.999 with the reference's", async () => {
    const { T, K } = pico.expected.config;
    const encoder = await VisionEncoder.create({ path: pico.clip, threads: 1 });
    try {
      const { config } = encoder;
      const pixels = new Float32Array(T * 3 * config.imageSize ** 2);
      const geometry = frameGeometry(config, 'crop');
      for await (const segment of readSegments(pico.video, { frames: T, segmentFrames: K, geometry }))
        normalizeFrames(
          segment.frames,
          pixels.subarray(segment.index * (pixels.length / (T / K))),
          config.imageSize,
          config,
        );
      const { patches } = await encoder.forward(float32Tensor(pixels, [T, 3, config.imageSize, config.imageSize]));
      expect(cosine(patches.data, (await expected('patches')).data)).toBeGreaterThan(0.999);
    } finally {
      await encoder.dispose();
    }
  });
});

describe('LongVLM.encode()', () => {
  test('gives the features of a real file, close to the reference', async () => {
    expect(features.local.dims).toEqual([4, 6, 64]);
    expect(features.global.dims).toEqual([5, 64]);
    expect(cosine(features.global.data, (await expected('global')).data)).toBeGreaterThan(0.999);
    expect(cosine(features.local.data, (await expected('local')).data)).toBeGreaterThan(0.99);
    // Every patch of a segment is in exactly one token.
    for (let segment = 0; segment < 4; segment++) {
      const sizes = features.sizes.data.subarray(segment * 6, segment * 6 + 6);
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(5 * 16);
    }
  });

  test('tells what it was made from', async () => {
    expect(features.tokenCount).toBe(29);
    expect(features.source).toMatchObject({ name: 'video.mp4', frameCount: 252, width: 128, height: 96, warnings: [] });
    expect(features.sampling).toEqual({
      frames: 20,
      segmentFrames: 5,
      tokensPerSegment: 6,
      globalLayers: 5,
      resize: 'crop',
      reduction: 'merge',
      mergeHeads: 4,
    });
    const indices = (await openSafetensors(path.join(pico.clip, '../expected.safetensors'))).tensors.get(
      'frame_indices',
    )!;
    const wanted = [...((await readTensor(indices)) as Int32Array)].map((index) => index / 12.5);
    expect(relativeError(features.timestamps, wanted)).toBeLessThan(1e-3);
  });

  test('reports every segment as it is done', async () => {
    const seen: Progress[] = [];
    await vlm.encode(pico.video, { onProgress: (progress) => seen.push(progress) });
    expect(seen.map(({ stage, done }) => `${stage} ${done}`)).toEqual([
      'probe 0',
      'encode 0',
      'encode 5',
      'encode 10',
      'encode 15',
      'encode 20',
    ]);
    expect(seen.every(({ total, unit, name }) => total === 20 && unit === 'frames' && name === 'video.mp4')).toBe(true);
  });

  test.each(['probe', 'encode'] as const)('ends at an abort while in stage %s, and can encode again', async (stage) => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const encoding = vlm.encode(pico.video, {
      signal: controller.signal,
      onProgress: (progress) => {
        if (progress.stage === stage && (stage === 'probe' || progress.done === 5)) controller.abort(reason);
      },
    });
    await expect(encoding).rejects.toBe(reason);
    expect(children()).toEqual([]);
    const again = await vlm.encode(pico.video);
    expect(again.local.data).toEqual(features.local.data);
  });

  test('two encodings at once give what each gives alone', async () => {
    const both = await Promise.all([vlm.encode(pico.video), vlm.encode(pico.video)]);
    for (const each of both) expect(each.local.data).toEqual(features.local.data);
  });

  test('passes on what a video is refused for', async () => {
    writeFileSync(inFolder('text.mp4'), 'this is no video\n'.repeat(100));
    await expect(vlm.encode(inFolder('text.mp4'))).rejects.toMatchObject({
      name: 'LongVLMError',
      code: 'ERR_LONGVLM_VIDEO',
      message: expect.stringContaining('text.mp4'),
    });
    await expect(vlm.encode(inFolder('none.mp4'))).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE' });
    await expect(vlm.encode(5 as never)).rejects.toThrow(TypeError);
  });

  test('names the tower whose weights give NaN', async () => {
    const broken = await towerWith('broken', (name, data) => {
      if (name === 'encoder.layers.0.mlp.fc1.bias') data[3] = Number.NaN;
    });
    const other = await LongVLM.load({ ...picoOptions, vision: broken });
    try {
      await expect(other.encode(pico.video)).rejects.toMatchObject({
        name: 'LongVLMError',
        code: 'ERR_LONGVLM_NOT_FINITE',
      });
    } finally {
      await other.dispose();
    }
  });
});

/** A copy of the tower with changed weights. */
async function towerWith(name: string, change: (tensor: string, data: Float32Array) => void): Promise<string> {
  const target = inFolder(name);
  cpSync(pico.clip, target, { recursive: true });
  const source = await openSafetensors(path.join(pico.clip, 'model.safetensors'));
  const tensors: Parameters<typeof writeSafetensors>[1] = Object.fromEntries(
    await Promise.all(
      [...source.tensors.values()].map(async (location) => {
        const data = (await readTensor(location)) as Float32Array;
        change(location.name, data);
        return [location.name, { type: 'F32', shape: location.shape, data }] as const;
      }),
    ),
  );
  await writeSafetensors(path.join(target, 'model.safetensors'), tensors);
  return target;
}

describe('VideoFeatures', () => {
  test('comes back from a file as it was', async () => {
    const file = inFolder('features.safetensors');
    await features.save(file);
    const loaded = await VideoFeatures.load(file, { tower: vlm.tower });
    expect(loaded).toEqual(features);
    const { metadata } = await openSafetensors(file);
    expect(metadata.longvlm_version).toMatch(/^\d+\.\d+\.\d+/);
    expect((await vlm.ask(loaded, question, greedy)).tokenIds).toEqual(pico.expected.greedy_linear);
  });

  test('takes half the room as float16, within half-precision rounding', async () => {
    const file = inFolder('half.safetensors');
    await features.save(file, { type: 'float16' });
    const loaded = await VideoFeatures.load(file);
    expect(relativeError(loaded.local.data, features.local.data)).toBeLessThan(2 ** -11);
    expect(loaded.local.data).not.toEqual(features.local.data);
    expect(loaded.sizes.data).toEqual(features.sizes.data);
    expect(loaded.timestamps).toEqual(features.timestamps);
  });

  test('refuses float16 where a value is beyond it, and NaN in a file', async () => {
    const huge = float32Tensor(features.global.data.slice(), features.global.dims);
    huge.data[3] = 1e5;
    const large = new VideoFeatures({ ...features, global: huge });
    await expect(large.save(inFolder('huge.safetensors'), { type: 'float16' })).rejects.toMatchObject({
      name: 'RangeError',
      message: expect.stringContaining('global holds 100000'),
    });
    await large.save(inFolder('huge.safetensors'));
    huge.data[67] = Number.NaN;
    await new VideoFeatures({ ...features, global: huge }).save(inFolder('nan.safetensors'));
    await expect(VideoFeatures.load(inFolder('nan.safetensors'))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_NOT_FINITE',
      message: expect.stringMatching(/'global' in .*nan\.safetensors holds NaN at \[1, 3\]/),
    });
  });

  test('refuses the features of another tower of the same shape, at load and at chat', async () => {
    const file = inFolder('other.safetensors');
    const other = await LongVLM.load({
      ...picoOptions,
      vision: await towerWith('other', (name, data) => {
        if (name === 'encoder.layers.2.mlp.fc1.bias') data[0]! += 1;
      }),
    });
    try {
      await (await other.encode(pico.video)).save(file);
    } finally {
      await other.dispose();
    }
    await expect(VideoFeatures.load(file, { tower: vlm.tower })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_MISMATCH',
      message: expect.stringMatching(/other\.safetensors were made by the vision tower .* Encode the video again/),
    });
    await expect(vlm.chat(await VideoFeatures.load(file))).rejects.toMatchObject({ code: 'ERR_LONGVLM_MISMATCH' });
  });

  test('reads files from before there was a choice of reduction as merged', async () => {
    const { reduction: _, ...before } = features.sampling;
    const loaded = await VideoFeatures.load(await rewritten('before', { sampling: JSON.stringify(before) }));
    expect(loaded).toEqual(features);
  });

  const sampling = (change: object) => JSON.stringify({ ...features.sampling, ...change });

  const rewritten = async (name: string, change: Record<string, string>, drop?: string) => {
    const file = inFolder(name);
    await features.save(file);
    const opened = await openSafetensors(file);
    const tensors: Parameters<typeof writeSafetensors>[1] = Object.fromEntries(
      await Promise.all(
        [...opened.tensors.values()]
          .filter(({ name }) => name !== drop)
          .map(
            async (at) => [at.name, { type: at.type as 'F32', shape: at.shape, data: await readTensor(at) }] as const,
          ),
      ),
    );
    await writeSafetensors(file, tensors, { ...opened.metadata, ...change });
    return file;
  };

  test.each([
    ['another safetensors file', async () => pico.projector, /holds no video features/],
    ['a missing tensor', () => rewritten('dropped', {}, 'sizes'), /has no tensor 'sizes'/],
    ['a later format', () => rewritten('later', { format_version: '2' }), /format version 2/],
    ['unreadable sampling', () => rewritten('json', { sampling: '{' }), /no readable 'sampling'/],
    [
      'sampling that does not fit the tensors',
      () => rewritten('shape', { sampling: sampling({ frames: 25 }) }),
      /shape \[4, 6, 64\] for 'local' where \[5, 6, 64\] is due/,
    ],
    [
      'frames that are no number',
      () => rewritten('nan', { sampling: sampling({ frames: null }) }),
      /Expected positive integer for sampling\.frames but received null/,
    ],
    [
      'a reduction that is no name',
      () => rewritten('how', { sampling: sampling({ reduction: 5 }) }),
      /for sampling\.reduction but received 5/,
    ],
    [
      'another resize',
      () => rewritten('resize', { sampling: sampling({ resize: 'stretch' }) }),
      /one of crop, squash, pad for sampling\.resize but received 'stretch'/,
    ],
  ])('refuses %s', async (_, make, message) => {
    await expect(VideoFeatures.load(await make())).rejects.toMatchObject({
      name: 'LongVLMError',
      code: 'ERR_LONGVLM_WEIGHTS',
      message: expect.stringMatching(message),
    });
  });

  test('leaves nothing behind when it cannot be written', async () => {
    await expect(features.save(inFolder('no/such/folder.safetensors'))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
    });
    expect(readdirSync(folder).filter((name) => name.includes('.tmp'))).toEqual([]);
  });
});

describe('LongVLM.chat() and ask()', () => {
  test('answers about a file in several turns, the video evaluated once', async () => {
    const chat = await vlm.chat(pico.video);
    const pieces: string[] = [];
    const text = await chat.ask(question, { ...greedy, onText: (piece) => pieces.push(piece) });
    expect(pieces.join('')).toBe(text);
    // The margins of the reference's choices are wide enough for ffmpeg's rounding.
    expect(chat.lastAnswer?.tokenIds).toEqual(pico.expected.greedy_linear);
    await chat.ask('and then?', greedy);
    expect(chat.lastAnswer!.evaluatedTokens).toBeLessThan(29 + 16);
    await chat.dispose();
  });

  test('ask() makes the context just large enough', async () => {
    const answer = await vlm.ask(features, question, greedy);
    expect(answer).toMatchObject({ tokenIds: pico.expected.greedy_linear, stopReason: 'maxTokens' });
    const cut = await vlm.ask(features, question, { temperature: 0, maxTokens: 5000 });
    expect(cut.stopReason).toMatch(/contextFull|endOfAnswer/);
  });

  test('answers at the temperature that it was loaded with, unless a chat or a question names one', async () => {
    const cold = await LongVLM.load({ ...picoOptions, temperature: 0 });
    const ids = async (options: object) =>
      (await cold.ask(features, question, { maxTokens: 16, seed: 1, ...options })).tokenIds;
    try {
      expect(await ids({})).toEqual(pico.expected.greedy_linear);
      expect(await ids({ temperature: 5 })).not.toEqual(pico.expected.greedy_linear);
      const warm = await cold.chat(features, { temperature: 5 });
      await warm.ask(question, { maxTokens: 16, seed: 1 });
      expect(warm.lastAnswer!.tokenIds).toEqual(await ids({ temperature: 5 }));
      await warm.reset();
      await warm.ask(question, greedy);
      expect(warm.lastAnswer!.tokenIds).toEqual(pico.expected.greedy_linear);
      await expect(cold.chat(features, { temperature: -1 })).rejects.toThrow(/at least 0 for temperature/);
    } finally {
      await cold.dispose();
    }
  });

  test('finds out that a question does not fit before it encodes', async () => {
    const stages: string[] = [];
    const asked = vlm.ask(pico.video, 'word '.repeat(2000), { onProgress: ({ stage }) => stages.push(stage) });
    await expect(asked).rejects.toMatchObject({
      code: 'ERR_LONGVLM_CONTEXT_FULL',
      message: expect.stringMatching(/do not fit into .* context of 1024 tokens/),
    });
    expect(stages).toEqual([]);
    expect(() => vlm.checkQuestion(question)).not.toThrow();
    // 80 tokens before the video, its 29, 15 behind it, and one to answer.
    expect(() => vlm.checkQuestion(question, { contextSize: 125 })).not.toThrow();
    expect(() => vlm.checkQuestion(question, { contextSize: 124 })).toThrow(/124 tokens/);
  });

  test('finds out that a rate gives too many tokens before the first frame is encoded', async () => {
    const seen: string[] = [];
    const onProgress = ({ stage, done }: Progress) => seen.push(`${stage} ${done}`);
    // 20 s at 25 frames a second: 100 segments of 6 tokens, and 5 global ones, in a context of 1024.
    const sampling = { fps: 25, tokensPerSegment: 10 };
    await expect(vlm.ask(pico.video, question, { sampling, onProgress })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_CONTEXT_FULL',
    });
    await expect(vlm.chat(pico.video, { sampling, onProgress })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_CONTEXT_FULL',
    });
    expect(new Set(seen)).toEqual(new Set(['probe 0']));
  });

  test('finds out that there are no global tokens before the video is looked at', async () => {
    const options = { part: 'global', sampling: { globalLayers: 0 } } as const;
    const message = "Expected both or local for part but received 'global'";
    await expect(vlm.ask('none.mp4', question, options)).rejects.toThrow(message);
    await expect(vlm.chat('none.mp4', options)).rejects.toThrow(message);
  });

  test.each([
    ['no room for a question', { contextSize: 100 }, /do not fit into .* context of 100 tokens/],
    ['a context of no size', { contextSize: 0 }, /at least 16 for contextSize but received 0/],
    ['a system text that is none', { system: 5 as never }, /string for system but received 5/],
  ])('a chat finds out before it encodes: %s', async (_, options, message) => {
    await expect(vlm.chat('missing.mp4', options)).rejects.toThrow(message);
    expect(() => vlm.checkQuestion(undefined, options)).toThrow(message);
    await expect(vlm.chat(features, { ...options })).rejects.toThrow();
  });

  test('needs a projector and a language model, and says which is missing', async () => {
    const encoder = await LongVLM.load({ ...picoOptions, projector: undefined, llm: undefined } as never);
    try {
      expect((await encoder.encode(pico.video)).local.data).toEqual(features.local.data);
      await expect(encoder.chat(features)).rejects.toMatchObject({
        name: 'TypeError',
        message: expect.stringContaining('Expected a path for llm'),
      });
    } finally {
      await encoder.dispose();
    }
  });
});

describe('LongVLM.load()', () => {
  test.each([
    ['options that are none', null, 'TypeError', /object for options/],
    [
      'no tower',
      { vision: undefined },
      'TypeError',
      /Expected vision beside projector and llm .*name all three models/,
    ],
    ['a tower without a name', { vision: '' }, 'RangeError', /non-empty string for vision/],
    [
      'frames that are no whole segments',
      { frames: 21 },
      'RangeError',
      /multiple of segmentFrames \(5\) for frames but received 21/,
    ],
    ['more tokens than there are', { tokensPerSegment: 81 }, 'RangeError', /81/],
    [
      'heads that do not divide the channels',
      { mergeHeads: 7 },
      'RangeError',
      /divisor of the vision tower's 64 channels for mergeHeads/,
    ],
    ['more global layers than there are', { globalLayers: 8 }, 'RangeError', /between 0 and 7 for globalLayers/],
    ['another resize', { resize: 'stretch' }, 'RangeError', /one of crop, squash, pad for resize/],
    [
      'another reduction',
      { reduction: 'drop' },
      'RangeError',
      /one of merge, pick, pool, subsample, all, fastvid, flashvid, vcast, .*random for reduction/,
    ],
    [
      'another template',
      { template: 'chatml' },
      'RangeError',
      /one of long_vlm_v1, vicuna_v1_1, chat_template, llava_onevision, internvl, smolvlm, qwen3_vl, .*gemma3 for template/,
    ],
    ['a temperature below 0', { temperature: -1 }, 'RangeError', /number of at least 0 for temperature/],
  ])('refuses %s', async (_, options, error, message) => {
    const given = options && { ...picoOptions, ...options };
    await expect(LongVLM.load(given as never)).rejects.toMatchObject({
      name: error,
      message: expect.stringMatching(message),
    });
  });

  const linear = async (name: string, rows: number, columns: number) => {
    await writeSafetensors(inFolder(name), {
      'mm_projector.weight': { type: 'F32', shape: [rows, columns], data: new Float32Array(rows * columns) },
      'mm_projector.bias': { type: 'F32', shape: [rows], data: new Float32Array(rows) },
    });
    return inFolder(name);
  };

  test.each([
    [
      'a projector for a wider tower',
      () => linear('wide-in', 64, 96),
      /takes 96 channels but the vision tower .* gives 64/,
    ],
    [
      'a projector for a wider language model',
      () => linear('wide-out', 96, 64),
      /gives 96 channels but the language model .* takes 64/,
    ],
  ])('refuses %s', async (_, make, message) => {
    await expect(LongVLM.load({ ...picoOptions, projector: await make() })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_MISMATCH',
      message: expect.stringMatching(message),
    });
  });

  test('refuses an mmproj file as language model, and frees the rest', async () => {
    await expect(LongVLM.load({ ...picoOptions, llm: pico.mmproj })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_UNSUPPORTED',
    });
  });

  test('rejects when aborted before and while loading', async () => {
    const reason = new Error('no');
    await expect(LongVLM.load({ ...picoOptions, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    // The language model is half read when it comes.
    const onProgress = ({ stage }: Progress) => stage === 'load' && controller.abort(reason);
    const loading = LongVLM.load({ ...picoOptions, onProgress, signal: controller.signal });
    await expect(loading).rejects.toBe(reason);
  });

  test('disposes its chats, and refuses work afterwards', async () => {
    const own = await LongVLM.load(picoOptions);
    const chat = await own.chat(features);
    await own.dispose();
    await own.dispose();
    expect(chat.disposed).toBe(true);
    await expect(own.encode(pico.video)).rejects.toMatchObject({ code: 'ERR_LONGVLM_DISPOSED' });
    await expect(own.chat(features)).rejects.toMatchObject({ code: 'ERR_LONGVLM_DISPOSED' });
  });
});
