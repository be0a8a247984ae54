// Reducers that take a video as a whole: each through the product, against its kernel on all tokens of the same video.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { float32Tensor } from '../../dist/base/tensor.js';
import { samplingIdentity } from '../../dist/encode/sampling.js';
import {
  FeaturesCache,
  LongVLM,
  type SamplingRequest,
  VideoEncoder,
  VideoFeatures,
  type VideoReducer,
  VisionEncoder,
} from '../../dist/index.js';
import * as kernels from '../../dist/kernels/index.js';
import { makeReducer } from '../../dist/reduce/reducers.js';
import { longvlm } from '../fixtures/commandLine.js';
import { pico, picoOptions, qwen3vl, relativeError } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

// pico: 20 frames in 4 segments of 5, each frame of 4 by 4 patches with 64 channels; 5 global tokens.
const [F, N, C, E] = [20, 16, 64, 5];
const folder = await temporaryFolder();
let vlm: LongVLM;
/** All tokens of the video. */
let all: Float32Array;
const asVideo = () => float32Tensor(all, [F, N, C]);
const rowOf = (data: Float32Array, token: number, channels = C) =>
  data.subarray(token * channels, (token + 1) * channels);
const lengths = () =>
  float32Tensor(
    Float32Array.from({ length: F * N }, (_, token) => Math.hypot(...rowOf(all, token))),
    [F, N],
  );

beforeAll(async () => {
  vlm = await LongVLM.load(picoOptions);
  all = (await vlm.encode(pico.video, { sampling: { tokens: 'all' } })).local.data;
});
afterAll(() => vlm.dispose());

const encode = (sampling: SamplingRequest) => vlm.encode(pico.video, { sampling });

// 60 local tokens of 320, 3 of each frame.
const ratio = 60 / (F * N);
const methods = {
  vcast: () => kernels.vCast(asVideo(), { retentionRatio: ratio }),
  evs: () => kernels.evs(asVideo(), { retentionRatio: ratio }),
  vidcom2: () => kernels.vidCom2(asVideo(), { tokens: 60 }),
  uniform: () => kernels.uniform(asVideo(), { retentionRatio: ratio }),
  random: () => kernels.random(asVideo(), { retentionRatio: ratio }),
  aim: () => kernels.aim(asVideo(), { tokensPerFrame: 3 }),
  fastvid: () => kernels.fastVid(asVideo(), { retentionRatio: 3 / N, attention: lengths() }),
  flashvid: () => kernels.flashVid(asVideo(), { retentionRatio: 3 / N, exactBudget: true }),
} as const;
type Method = keyof typeof methods;
// What ranks tokens where no tower does: its attention has tests of its own.
const without = { fastvid: 'norm', flashvid: 'div' } as const;
const optionsOf = (method: Method) =>
  method in without ? { reductionOptions: { attention: without[method as keyof typeof without] } } : {};
const names = Object.keys(methods) as Method[];

describe.each(names)('the reduction %s', (reduction) => {
  test('keeps what its kernel does of the whole video, in place, and as many as were asked for', async () => {
    const features = await encode({ reduction, tokens: E + 60, ...optionsOf(reduction) });
    const kernel = await methods[reduction]();
    expect([...features.positions!]).toEqual([...kernel.indices]);
    const kept = kernel.indices.length;
    // FastVID's segments round the shares of their anchors down.
    if (reduction !== 'fastvid') expect(kept).toBe(60);
    expect(features.local.dims).toEqual([1, kept, C]);
    expect(features.local.data).toEqual(kernel.tokens.data);
    expect([...features.sizes.data]).toEqual([...kernel.sizes.data]);
    expect(features.report).toEqual({
      ...kernel.report,
      ...optionsOf(reduction).reductionOptions,
      method: features.report!.method,
      text: expect.any(String),
    });
    expect(features.report!.changed).toBe(true);
    expect(features.grid).toEqual({ steps: F, rows: 4, columns: 4 });
    expect(features.sampling).toMatchObject({ reduction, segmentFrames: F, tokensPerSegment: kept });
    const shown = new Set(Array.from(kernel.indices, (index) => Math.floor(index / N)));
    expect(features.runs.filter(({ kind }) => kind === 'step')).toHaveLength(shown.size);

    const file = join(folder, `${reduction}.safetensors`);
    await features.save(file);
    const loaded = await VideoFeatures.load(file);
    expect(loaded).toEqual(features);
    const { video } = await vlm.ask(loaded, 'what?', { maxTokens: 1 });
    expect(video.runs.reduce((sum, run) => sum + run.tokens, 0)).toBe(E + kept);
  });

  test('does not depend on how many frames are added at once', async () => {
    const once = await reduceAll(reduction, 60);
    for (const atOnce of [1, 7]) expect(await reduceAll(reduction, 60, atOnce)).toEqual(once);
  });

  test('never keeps more than a budget', async () => {
    for (const budget of [21, 47, 79, 100, 319]) {
      const { tokens, report } = await reduceAll(reduction, budget);
      const exactly = ['vcast', 'evs', 'vidcom2', 'uniform', 'random'].includes(reduction);
      const kept = tokens.dims[0]!;
      expect(report!.tokens).toBe(kept);
      if (exactly) expect(kept).toBe(budget);
      else if (reduction !== 'fastvid') expect(kept).toBe(F * Math.floor(budget / F));
      else {
        expect(kept).toBeLessThanOrEqual(budget);
        expect(kept).toBeGreaterThan(0.75 * F * (Math.floor(budget / F) - 1));
      }
    }
    expect((await reduceAll(reduction, 5000)).tokens.dims[0]).toBe(F * N);
  });
});

/** A reducer alone, on all tokens, some frames at once. */
async function reduceAll(name: Method, tokens: number, atOnce: number = F) {
  const reducer = makeReducer(name, { tokensPerSegment: 1, mergeHeads: 1, tokens }) as VideoReducer;
  const video = { frames: F, patches: N, grid: [4, 4] as const, channels: C };
  reducer.check(video);
  const reduction = reducer.start(video);
  for (let frame = 0; frame < F; frame += atOnce) {
    const lent = all.slice(frame * N * C, (frame + atOnce) * N * C);
    await reduction.add(float32Tensor(lent, [lent.length / C, C]));
    // Their memory is reused.
    lent.fill(Number.NaN);
  }
  const reduced = await reduction.finish();
  expect(reduced.tokens.dims[0]).toBeLessThanOrEqual(reducer.count(video));
  return reduced;
}

test('uniform takes every fifth token or so of the video, by hand', async () => {
  const { positions, local } = await encode({ reduction: 'uniform', tokens: E + 3 });
  // floor(320 / 6), floor(3 · 320 / 6), floor(5 · 320 / 6)
  expect([...positions!]).toEqual([53, 160, 266]);
  expect([...local.data]).toEqual([53, 160, 266].flatMap((token) => [...rowOf(all, token)]));
});

describe('the budget', () => {
  test('is by default what merging would have, and a part of all tokens on request', () => {
    const { encoder } = vlm;
    expect(encoder.tokenCountOf('local', { reduction: 'vcast' })).toBe(4 * pico.tokensPerSegment);
    const quarter = { reduction: 'vcast', reductionOptions: { retentionRatio: 0.25 } };
    expect(encoder.tokenCountOf('local', quarter)).toBe(80);
    expect(encoder.tokenCountOf('both', { reduction: 'evs', tokens: 100 })).toBe(100);
  });

  test('is shared by the frames that a rate gives', async () => {
    const sampling = { reduction: 'vidcom2', tokens: E + 60, fps: 0.5 };
    const { video } = await vlm.ask(pico.video, 'what?', { sampling, maxTokens: 1 });
    expect(video.runs.filter(({ kind }) => kind === 'step')).toHaveLength(10);
    expect(video.runs.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(E + 60);
    await expect(encode({ reduction: 'aim', tokens: E + 12, fps: 1 })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_VIDEO',
      message: expect.stringMatching(
        /at least 20 local tokens .* 'aim', as it keeps at least one of each of 20 frames/,
      ),
    });
  });

  test.each<[SamplingRequest, RegExp]>([
    [{ reduction: 'fastvid', tokens: E + 19 }, /at least 20 local tokens .*budget of 19\. Raise tokens/],
    [{ reduction: 'evs', tokens: E + 15 }, /at least 16 local tokens .*it keeps all 16 of the first frame/],
    [{ reduction: 'vcast', tokens: E + 30, reductionOptions: { minTokens: 2 } }, /at least 40 .*minTokens keeps 2/],
    [{ reduction: 'vcast', tokens: 'all' }, /number, as the reduction 'vcast' is asked for, for tokens/],
    [
      { reduction: 'vcast', tokens: 40, reductionOptions: { retentionRatio: 0.5 } },
      /nothing, as retentionRatio is given/,
    ],
    [
      { reduction: 'vcast', reductionOptions: { beta: 1 } },
      /one of retentionRatio, stage, minTokens, temperature, leftover/,
    ],
    [{ reduction: 'vcast', reductionOptions: { temperature: 0 } }, /finite number above 0 for temperature/],
    [{ reduction: 'random', reductionOptions: { seed: 0.5 } }, /integer between 0 and 4294967295 for seed/],
    [
      { reduction: 'flashvid', reductionOptions: { attention: 'x' } },
      /one of auto, cls, pooling, norm, div, none for attention/,
    ],
    [{ reduction: 'merge', reductionOptions: { alpha: 1 } }, /nothing for a key of reductionOptions, .*'merge'/],
    [{ reduction: 'pool', reductionOptions: { alpha: 1 } }, /'pool' has no options/],
    [
      { reductionOptions: { stage: 'nowhere' }, reduction: 'evs' },
      /one of tower, projector for reductionOptions.stage/,
    ],
  ])('or an option that cannot be is refused before the video is opened: %j', async (sampling, message) => {
    await expect(vlm.encode('nowhere.mp4', { sampling })).rejects.toMatchObject({
      name: 'RangeError',
      message: expect.stringMatching(message),
    });
  });

  test('of another kind is no option', async () => {
    for (const reductionOptions of [5, [], null, { alpha: {} }] as never[])
      await expect(encode({ reduction: 'flashvid', reductionOptions })).rejects.toThrow(TypeError);
  });

  test('names the video that is too large to be held, and what takes it', () => {
    const video = { frames: 4096, patches: 256, grid: [16, 16] as const, channels: 4096 };
    const make = (name: Method) => makeReducer(name, { tokensPerSegment: 1, mergeHeads: 1, tokens: 5000 });
    expect(() => make('vcast').check(video)).toThrow(
      /at most 1024 frames or steps for the reduction 'vcast'.*16\.0 GiB, above the limit of 4 GiB.*evs, aim/,
    );
    for (const name of ['evs', 'aim', 'uniform', 'random'] as const) make(name).check(video);
  });
});

test('options of a method do not outlive it, and a budget replaces a part', () => {
  const given = { reduction: 'flashvid', reductionOptions: { alpha: 0.5, retentionRatio: 0.5 } } as const;
  const settle = async (request: SamplingRequest) => {
    const encoder = await VideoEncoder.create({ ...options, ...given });
    const settled = encoder.settle(request);
    await encoder.dispose();
    return settled;
  };
  const { projector: _, llm: __, tokensPerSegment: ___, ...options } = picoOptions;
  return Promise.all([
    expect(settle({})).resolves.toMatchObject({ reductionOptions: { alpha: 0.5, retentionRatio: 0.5 } }),
    expect(settle({ tokens: 85 })).resolves.toMatchObject({ reductionOptions: { alpha: 0.5 } }),
    expect(settle({ reduction: 'evs' })).resolves.not.toHaveProperty('reductionOptions'),
  ]);
});

test('the cache knows methods, their budgets and their options, in any order', async () => {
  const path = join(folder, 'cache');
  const cache = await FeaturesCache.open(path);
  const kept = async (sampling: SamplingRequest) => {
    const features = await vlm.encode(pico.video, { cache, sampling });
    const again = await vlm.encode(pico.video, { cache, sampling });
    expect(again).toEqual(features);
    return readdirSync(path).filter((name) => name.endsWith('.safetensors')).length;
  };
  expect(await kept({ reduction: 'random', tokens: 65, fps: 1 })).toBe(1);
  expect(await kept({ reduction: 'flashvid', tokens: 65, reductionOptions: { alpha: 0.5, minSegments: 2 } })).toBe(2);
  expect(await kept({ reduction: 'flashvid', tokens: 65, reductionOptions: { minSegments: 2, alpha: 0.5 } })).toBe(2);
  const requests: SamplingRequest[] = [
    ...names.flatMap((reduction) => [65, 66].map((tokens) => ({ reduction, tokens }))),
    { reduction: 'random', tokens: 65, reductionOptions: { seed: 1 } },
    { reduction: 'vcast', reductionOptions: { retentionRatio: 60 / 320 } },
    { reduction: 'vcast', tokens: 65, reductionOptions: { stage: 'projector' } },
  ];
  const keys = requests.map((sampling) => JSON.stringify(samplingIdentity(vlm.encoder.settle(sampling))));
  expect(new Set(keys).size).toBe(keys.length);
});

test('a file whose report or options are none is damaged', async () => {
  const file = join(folder, 'reported.safetensors');
  await (await encode({ reduction: 'vcast', tokens: 65, reductionOptions: { temperature: 0.5 } })).save(file);
  const bytes = readFileSync(file);
  for (const [from, to] of [
    ['\\"changed\\":true', '\\"changed\\":1234'],
    ['\\"tokensOfFrames\\":[', '\\"tokensOfFramez\\":['],
    ['{\\"temperature\\":0.5}', '{\\"temperature\\":[1]}'],
  ] as const) {
    const at = bytes.indexOf(from);
    expect(at, from).toBeGreaterThan(0);
    const changed = join(folder, 'changed.safetensors');
    writeFileSync(changed, Buffer.concat([bytes.subarray(0, at), Buffer.from(to), bytes.subarray(at + from.length)]));
    await expect(VideoFeatures.load(changed), to).rejects.toMatchObject({ code: 'ERR_LONGVLM_WEIGHTS' });
  }
});

test('behind the projector, a method reduces embeddings', async () => {
  const options = { stage: 'projector' } as const;
  const features = await encode({ reduction: 'vcast', tokens: E + 60, reductionOptions: options });
  const whole = await vlm.project(await encode({ tokens: 'all' }), { part: 'local' });
  const wanted = await kernels.vCast(float32Tensor(whole.data, [F, N, 64]), { retentionRatio: ratio });
  expect([...features.positions!]).toEqual([...wanted.indices]);
  expect(relativeError(features.local.data, wanted.tokens.data as Float32Array)).toBeLessThan(1e-5);
  expect(features.projector).toBe(vlm.models.projector!.identity);
  const before = await encode({ reduction: 'vcast', tokens: E + 60 });
  expect(before.projector).toBeUndefined();
  expect([...before.positions!]).not.toEqual([...features.positions!]);
});

describe('tokens with rows for later layers', () => {
  const width = 12;
  const rows = 3;
  const sampling = { frames: 8, segmentFrames: 4 } as const;
  let encoder: VideoEncoder;
  let whole: VideoFeatures;
  beforeAll(async () => {
    encoder = await VideoEncoder.create({ vision: qwen3vl.folder, device: 'cpu', threads: 1, ...sampling });
    whole = await encoder.encode(pico.video, { sampling: { tokens: 'all' } });
  });
  afterAll(() => encoder.dispose());

  test.each(['vcast', 'evs', 'uniform', 'aim', 'flashvid'] as const)(
    '%s compares embeddings, and takes the rows of the place, also where it merges',
    async (reduction) => {
      const { patches, steps } = { patches: whole.grid!.rows * whole.grid!.columns, steps: 4 };
      const tokens = 6 * steps;
      expect(patches).toBe(20);
      const embeddings = new Float32Array(steps * patches * width);
      for (let token = 0; token < steps * patches; token++)
        embeddings.set(rowOf(whole.local.data, token, rows * width).subarray(0, width), token * width);
      const video = float32Tensor(embeddings, [steps, patches, width]);
      const wanted = await {
        vcast: () => kernels.vCast(video, { retentionRatio: tokens / (steps * patches) }),
        evs: () => kernels.evs(video, { retentionRatio: tokens / (steps * patches) }),
        uniform: () => kernels.uniform(video, { retentionRatio: tokens / (steps * patches) }),
        aim: () => kernels.aim(video, { tokensPerFrame: 6 }),
        flashvid: () => kernels.flashVid(video, { retentionRatio: 6 / patches, exactBudget: true }),
      }[reduction]();
      const features = await encoder.encode(pico.video, { sampling: { reduction, tokens } });
      expect([...features.positions!]).toEqual([...wanted.indices]);
      for (const [at, place] of wanted.indices.entries()) {
        const token = rowOf(features.local.data, at, rows * width);
        expect([...token.subarray(0, width)]).toEqual([...rowOf(wanted.tokens.data as Float32Array, at, width)]);
        expect([...token.subarray(width)]).toEqual([...rowOf(whole.local.data, place, rows * width).subarray(width)]);
      }
      const steps_ = features.runs.filter(({ kind }) => kind === 'step');
      expect(steps_.reduce((sum, run) => sum + run.tokens, 0)).toBe(wanted.indices.length);
    },
  );
});

describe('a reducer of whole videos from outside', () => {
  /** Keeps the last token. */
  const last = (changes: Partial<VideoReducer> = {}): VideoReducer => ({
    ...{ name: 'last', id: 'last', scope: 'video' },
    count: () => 1,
    check: () => {},
    start: ({ frames, patches, channels }) => {
      let row = new Float32Array(0);
      return {
        add: async ({ data }) => {
          row = data.slice(-channels);
        },
        finish: async () => ({
          tokens: float32Tensor(row, [1, channels]),
          sizes: float32Tensor(Float32Array.of(1), [1]),
          positions: Int32Array.of(frames * patches - 1),
        }),
      };
    },
    ...changes,
  });

  test('is given as it is', async () => {
    const features = await encode({ reduction: last() });
    expect([...features.local.data]).toEqual([...rowOf(all, F * N - 1)]);
    expect(features.report).toBeUndefined();
    expect(features.sampling.reduction).toBe('last');
    await expect(encode({ reduction: last(), reductionOptions: { a: 1 } })).rejects.toThrow(/'last' has no options/);
  });

  test('is refused where it gives more than it said, or places that are none', async () => {
    const finish = (positions: Int32Array, count = positions.length) => ({
      add: async () => {},
      finish: async () => ({
        tokens: float32Tensor(new Float32Array(count * C), [count, C]),
        sizes: float32Tensor(new Float32Array(count).fill(1), [count]),
        positions,
      }),
    });
    const give = (positions: Int32Array) => encode({ reduction: last({ start: () => finish(positions) }) });
    await expect(give(Int32Array.of(0, 1))).rejects.toThrow(/between 1 and 1 for the number of sizes that .* gave/);
    await expect(give(Int32Array.of(F * N))).rejects.toThrow(/for the positions that the reducer last gave/);
  });

  test('is none for a single segment', async () => {
    const encoder = await VisionEncoder.create({ path: pico.clip, threads: 1, lazy: true });
    const frames = new Uint8Array(encoder.config.imageSize ** 2 * 3);
    for (const reduction of ['vcast', last()])
      await expect(encoder.encodeSegment(frames, { reduction, tokensPerSegment: 1 } as never)).rejects.toThrow(
        /a reducer of segments for reduction but received '(vcast|last)'/,
      );
    await encoder.dispose();
  });
});

test('the command line takes a method and its options, and reports both', async () => {
  const output = join(folder, 'told.safetensors');
  const args = ['--vision', pico.clip, '--frames', '20', '--threads', '1', '--device', 'cpu', '--no-cache', '--json'];
  const method = ['--reduction', 'vcast', '--reduction-options', 'leftover=reference'];
  const more = ['--reduction-options', '{"temperature":0.5}', '--tokens', '65'];
  const told = await longvlm('encode', pico.video, '-o', output, ...args, ...method, ...more);
  expect(told.stderr).toBe('');
  const { reduction, tokens } = JSON.parse(told.stdout).video;
  const { report, sampling } = await VideoFeatures.load(output);
  expect(reduction).toEqual({ name: 'vcast', options: { leftover: 'reference', temperature: 0.5 }, report });
  expect(reduction.options).toEqual(sampling.reductionOptions);
  expect([tokens, report!.tokens]).toEqual([65, 60]);
  const wrong = await longvlm('encode', pico.video, '-o', output, '--reduction-options', '[1]');
  expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('Give name=value, such as alpha=0.5')]);
});
