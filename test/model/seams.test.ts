// A tower family, a reducer, a projector and a prompt layout of one's own, from outside of the package.
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { writeSafetensors } from '../../dist/files/safetensors.js';
import {
  type Float32Tensor,
  GraphBuilder,
  LongVLM,
  openWeights,
  projectFrames,
  type Reducer,
  readSegments,
  registerProjector,
  registerPromptTemplate,
  registerReducer,
  registerTower,
  requireTensor,
  type TowerSource,
  VideoEncoder,
  VideoFeatures,
  VisionEncoder,
} from '../../dist/index.js';
import { pico, relativeError } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

const folder = await temporaryFolder();
const [imageSize, rows, channels] = [8, 2, 6];
const colours = Float32Array.from({ length: channels * 3 }, (_, index) => Math.sin(index + 1));
const tower = join(folder, 'colours.safetensors');
await writeSafetensors(tower, { 'colours.weight': { type: 'F32', shape: [channels, 3], data: colours } });
const projector = join(folder, 'repeat.safetensors');
await writeSafetensors(projector, {
  'repeat.scale': { type: 'F32', shape: [1], data: Float32Array.of(0.25) },
});

// A tower without a class token: the mean colour of each quarter of a frame, times a matrix.
registerTower({
  name: 'colours',
  async open(path): Promise<TowerSource | undefined> {
    const file = await openWeights(path).catch(() => undefined);
    if (!file?.tensors.has('colours.weight')) return undefined;
    const weight = requireTensor(file, 'colours.weight', [channels, 3]);
    const side = imageSize / rows;
    return {
      config: {
        ...{ imageSize, patches: rows * rows, grid: [rows, rows], channels, summaries: 0, heads: 2 },
        ...{ mean: [0, 0, 0], std: [1, 1, 1], rescale: 1, resize: 'squash', shortestEdge: imageSize },
      },
      details: { kind: 'mean colours' },
      description: 'colours 1',
      tensors: [weight],
      linear: [],
      graph: ({ input }) => {
        if (input !== 'uint8') throw new Error('not here');
        const graph = new GraphBuilder('colours');
        const bytes = graph.input('pixels', ['frames', imageSize, imageSize, 3], 'uint8');
        const pixels = graph.node('Cast', [bytes], { to: 1 });
        const blocks = graph.node('Reshape', [pixels, graph.integers([-1, rows, side, rows, side, 3])]);
        const means = graph.node('ReduceMean', [blocks, graph.integers([2, 4])], { keepdims: 0 });
        const flat = graph.node('Reshape', [means, graph.integers([-1, 3])]);
        const mixed = graph.node('Gemm', [flat, graph.weight(weight)], { transB: 1 });
        const patches = graph.node('Reshape', [mixed, graph.integers([-1, rows * rows, channels])]);
        graph.output('patches', patches, ['frames', rows * rows, channels]);
        return graph.build();
      },
    };
  },
});

// A tower with its projector in the graph: the mean colour of a frame, repeated up to the language model's width.
registerTower({
  name: 'whole',
  async open(path): Promise<TowerSource | undefined> {
    if (path !== projector) return undefined;
    const file = await openWeights(path);
    const scale = requireTensor(file, 'repeat.scale', [1]);
    return {
      config: {
        ...{ imageSize, patches: 1, grid: [1, 1], channels: 64, summaries: 0, heads: 1 },
        ...{ mean: [0, 0, 0], std: [1, 1, 1], rescale: 1, resize: 'squash', shortestEdge: imageSize },
      },
      projection: { kind: 'repeat', width: 64 },
      template: 'bare',
      details: {},
      description: 'whole 1',
      tensors: [scale],
      linear: [],
      graph: ({ input }) => {
        const graph = new GraphBuilder('whole');
        const ofBytes = input === 'uint8';
        const pixels = ofBytes
          ? graph.node('Cast', [graph.input('pixels', ['frames', imageSize, imageSize, 3], 'uint8')], { to: 1 })
          : graph.input('pixels', ['frames', 3, imageSize, imageSize]);
        const axes = graph.integers(ofBytes ? [1, 2] : [2, 3]);
        const means = graph.node('ReduceMean', [pixels, axes], { keepdims: 0 });
        const scaled = graph.node('Mul', [means, graph.weight(scale)]);
        const padded = graph.node('Pad', [scaled, graph.integers([0, 0, 0, 61])]);
        const token = graph.node('Reshape', [padded, graph.integers([-1, 1, 64])]);
        graph.output('patches', token, ['frames', 1, 64]);
        return graph.build();
      },
    };
  },
});

/** Keeps the first tokens; `stage` says of what. */
function firstTokens(count: number, stage: 'tower' | 'projector'): Reducer {
  return {
    name: 'first',
    id: `first ${count} of ${stage}`,
    stage,
    count: () => count,
    check: ({ frames, patches }) => {
      if (count > frames * patches) throw new RangeError(`Expected at most ${frames * patches} tokens`);
    },
    reduce: async (tokens, { channels: width }) => ({
      tokens: { type: 'float32', data: tokens.data.slice(0, count * width), dims: [count, width] },
      sizes: { type: 'float32', data: new Float32Array(count).fill(1), dims: [count] },
    }),
  };
}
registerReducer({ name: 'first', create: ({ tokensPerSegment }) => firstTokens(tokensPerSegment, 'tower') });

// Each feature once, scaled, and zeros up to the language model's width.
registerProjector({
  name: 'repeat',
  async open(file) {
    if (!file.tensors.has('repeat.scale')) return undefined;
    const scale = requireTensor(file, 'repeat.scale', [1]);
    return {
      kind: 'repeat',
      inChannels: channels,
      outChannels: 64,
      tensors: [scale],
      graph: () => {
        const graph = new GraphBuilder('repeat');
        const features = graph.input('features', ['tokens', channels]);
        const scaled = graph.node('Mul', [features, graph.weight(scale)]);
        const wide = graph.node('Pad', [scaled, graph.integers([0, 0, 0, 64 - channels])]);
        graph.output('embeddings', wide, ['tokens', 64]);
        return graph.build();
      },
    };
  },
});

registerPromptTemplate({
  name: 'bare',
  system: '',
  firstTurn: ({ question }) => [{ video: 'all' }, `\nQ: ${question}\nA:`],
  nextTurn: ({ question }) => [{ endOfAnswer: true }, `\nQ: ${question}\nA:`],
});

const sampling = { frames: 12, segmentFrames: 4, tokensPerSegment: 3 } as const;
const quick = { device: 'cpu', threads: 1 } as const;
const vlm = await LongVLM.load({
  ...{ vision: tower, projector, llm: pico.llm, template: 'bare', reduction: 'first' },
  ...sampling,
  ...quick,
});
afterAll(() => vlm.dispose());

/** The toy tower by its definition, on the frames that ffmpeg gives: [T·N, C]. */
async function wantedPatches(): Promise<Float32Array> {
  const patches: number[] = [];
  const geometry = { resize: 'squash', size: imageSize } as const;
  for await (const { frames } of readSegments(pico.video, { frames: 12, segmentFrames: 4, geometry }))
    for (let block = 0; block < 4 * rows * rows; block++) {
      const [frame, row, column] = [Math.floor(block / 4), Math.floor(block / 2) % 2, block % 2];
      const colour = [0, 1, 2].map((channel) => {
        let sum = 0;
        for (let y = 0; y < 4; y++)
          for (let x = 0; x < 4; x++)
            sum += frames[((frame * imageSize + row * 4 + y) * imageSize + column * 4 + x) * 3 + channel]!;
        return sum / 16;
      });
      for (let out = 0; out < channels; out++)
        patches.push(colour.reduce((sum, value, index) => sum + value * colours[out * 3 + index]!, 0));
    }
  return Float32Array.from(patches);
}

test('a tower whose graph ends with its projector needs no other one, before a reducer and before the language model', async () => {
  const whole = await LongVLM.load({
    ...{ vision: projector, llm: pico.llm, reduction: firstTokens(2, 'projector') },
    ...sampling,
    ...quick,
  });
  try {
    expect(whole.template).toMatchObject({ name: 'bare' });
    const features = await whole.encode(pico.video);
    expect([features.local.dims, features.projector]).toEqual([[3, 2, 64], whole.tower]);
    expect((await whole.project(features)).data).toEqual(features.local.data);
    const pixels = { type: 'float32', data: new Float32Array(2 * 3 * 64).fill(2), dims: [2, 3, 8, 8] } as const;
    const { tokens } = await projectFrames(pixels, { projector });
    expect(tokens.dims).toEqual([2, 1, 64]);
    expect([...tokens.data.subarray(60, 68)]).toEqual([0, 0, 0, 0, 0.5, 0.5, 0.5, 0]);
    expect((await whole.ask(features, '?', { maxTokens: 2, temperature: 0 })).tokenIds.length).toBeLessThanOrEqual(2);
  } finally {
    await whole.dispose();
  }
  const other = LongVLM.load({ vision: projector, projector: pico.projector, llm: pico.llm, ...sampling, ...quick });
  await expect(other).rejects.toMatchObject({ code: 'ERR_LONGVLM_MISMATCH' });
});

describe('a LongVLM of registered models', () => {
  test('encodes without a class token: E is 0, and every token is local', async () => {
    const features = await vlm.encode(pico.video);
    expect(features.global.dims).toEqual([0, channels]);
    expect(features.local.dims).toEqual([3, 3, channels]);
    expect(features.sampling).toEqual({ ...sampling, globalLayers: 0, resize: 'squash', reduction: 'first' });
    const squashed = await vlm.encode(pico.video, { sampling: { resize: 'squash' } });
    const patches = await wantedPatches();
    const wanted = [0, 1, 2].flatMap((segment) => [...patches.slice(segment * 96, segment * 96 + 3 * channels)]);
    expect(relativeError(squashed.local.data, wanted)).toBeLessThan(1e-6);
    const file = join(folder, 'features.safetensors');
    await features.save(file);
    expect(await VideoFeatures.load(file)).toEqual(features);
    expect(() => features.tokens('global')).toThrow(/both or local for part but received 'global'/);
    await expect(vlm.encode(pico.video, { sampling: { globalLayers: 1 } })).rejects.toThrow(/globalLayers/);
  });

  test('projects with the foreign projector, and answers in the foreign layout', async () => {
    const features = await vlm.encode(pico.video);
    const embeddings = await vlm.project(features);
    expect(embeddings.dims).toEqual([9, 64]);
    for (const [index, value] of embeddings.data.entries()) {
      const [token, channel] = [Math.floor(index / 64), index % 64];
      const wanted = channel < channels ? features.local.data[token * channels + channel]! / 4 : 0;
      expect(Math.abs(value - wanted)).toBeLessThan(1e-4);
    }
    const answer = await vlm.ask(features, 'What?', { temperature: 0, maxTokens: 4 });
    expect(answer.tokenIds).toHaveLength(4);
    expect(vlm.models).toMatchObject({
      vision: { kind: 'mean colours', summaries: 0 },
      projector: { kind: 'repeat' },
      llm: { template: 'bare' },
    });
  });

  test('takes a reducer that stands behind the projector', async () => {
    const reduction = firstTokens(2, 'projector');
    const features = await vlm.encode(pico.video, { sampling: { reduction } });
    expect(features.local.dims).toEqual([3, 2, 64]);
    const before = await vlm.encode(pico.video, { sampling: { reduction: firstTokens(2, 'tower') } });
    const projected = await vlm.project(before);
    expect(relativeError(features.local.data, projected.data)).toBeLessThan(1e-6);
    // They are embeddings already.
    expect((await vlm.project(features)).data).toEqual(features.local.data);
    expect((await vlm.ask(features, 'What?', { temperature: 0, maxTokens: 4 })).tokenIds).toEqual(
      (await vlm.ask(before, 'What?', { temperature: 0, maxTokens: 4 })).tokenIds,
    );
    const file = join(folder, 'projected.safetensors');
    await features.save(file);
    const loaded = await VideoFeatures.load(file);
    expect(loaded.projector).toBe(vlm.models.projector!.identity);
    expect(() => loaded.checkProjector('another')).toThrow(/output of the projector .* not of another/);
    const alone = await VideoEncoder.create({ vision: tower, ...sampling, ...quick });
    await expect(alone.encode(pico.video, { sampling: { reduction } })).rejects.toThrow(/Expected a projector/);
    await alone.dispose();
  });

  test('keeps what a reducer gives as a view of what it was lent', async () => {
    const copying = firstTokens(2, 'tower');
    const viewing: Reducer = {
      ...copying,
      reduce: async (tokens, { channels: width }) => ({
        tokens: { type: 'float32', data: tokens.data.subarray(0, 2 * width), dims: [2, width] },
        sizes: { type: 'float32', data: new Float32Array(2).fill(1), dims: [2] },
      }),
    };
    const encode = (reduction: Reducer) => vlm.encode(pico.video, { sampling: { reduction } });
    const wanted = await encode(copying);
    for (const each of await Promise.all([encode(viewing), encode(viewing), encode(viewing)]))
      expect(each.local.data).toEqual(wanted.local.data);
    const alone = await VisionEncoder.create({ path: tower, threads: 1 });
    const frames = new Uint8Array(4 * 3 * imageSize ** 2).fill(7);
    const first = await alone.encodeSegment(frames, { reduction: viewing });
    await alone.encodeSegment(frames, { reduction: viewing });
    expect(first.local.data).toHaveLength(2 * channels);
    await alone.dispose();
  });

  test('refuses a reducer that gives something else than it said', async () => {
    const lying: Reducer = { ...firstTokens(2, 'tower'), name: 'lying', id: 'lying', count: () => 3 };
    await expect(vlm.encode(pico.video, { sampling: { reduction: lying } })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_UNSUPPORTED',
      message: expect.stringContaining('The reducer lying gave 12 values and 2 sizes where 3 tokens'),
    });
    const reduce: Reducer['reduce'] = async (...args) => {
      const reduced = await firstTokens(2, 'tower').reduce(...args);
      reduced.tokens.data[7] = Number.NaN;
      return reduced;
    };
    const broken: Reducer = { ...firstTokens(2, 'tower'), id: 'broken', reduce };
    await expect(vlm.encode(pico.video, { sampling: { reduction: broken } })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_NOT_FINITE',
      message: expect.stringContaining('What the reducer broken gave holds NaN at [1, 1]'),
    });
  });

  test.each([
    ['too many', Int32Array.of(0, 1, 2), RangeError],
    ['in another order', Int32Array.of(1, 0), RangeError],
    ['one of them twice', Int32Array.of(1, 1), RangeError],
    ['of no token', Int32Array.of(0, 10_000), RangeError],
    ['below 0', Int32Array.of(-1, 0), RangeError],
    ['in a list', [0, 1] as never, TypeError],
  ])('refuses positions of tokens: %s', async (_, positions, error) => {
    const reduce: Reducer['reduce'] = async (...args) => ({
      ...(await firstTokens(2, 'tower').reduce(...args)),
      positions,
    });
    const misplaced: Reducer = { ...firstTokens(2, 'tower'), id: 'misplaced', reduce };
    await expect(vlm.encode(pico.video, { sampling: { reduction: misplaced } })).rejects.toThrow(error);
    await expect(vlm.encode(pico.video, { sampling: { reduction: misplaced } })).rejects.toThrow(
      'for the positions that the reducer misplaced gave',
    );
  });
});

test('a tower of any size says the size of frames and that of its cells, or neither', async () => {
  const config = {
    ...{ imageSize, patches: 1, grid: [1, 1], channels: 3, summaries: 0, heads: 1 },
    ...{ mean: [0, 0, 0], std: [1, 1, 1], rescale: 1, resize: 'squash', shortestEdge: imageSize },
  } as const;
  const none = {
    details: {},
    description: '',
    tensors: [],
    linear: [],
    graph: () => Promise.reject(new Error('none')),
  };
  const size = { width: 8, height: 8 };
  const open = (source: object) => {
    const path = join(folder, 'sized');
    registerTower({
      name: 'sized',
      open: async (asked) => (asked === path ? { ...none, ...source } : undefined) as never,
    });
    return VideoEncoder.create({ vision: path, ...quick, lazy: true });
  };
  const cell = { pixels: 8, patches: 1 };
  const both = /both or neither of what the tower family sized opened.sizeOf and/;
  await expect(open({ config, sizeOf: () => size })).rejects.toThrow(both);
  await expect(open({ config: { ...config, cell } })).rejects.toThrow(both);
  await expect(open({ config: { ...config, cell }, sizeOf: () => size })).rejects.toThrow('none');
});

test('a tower whose family does not know half precision is not computed in it', async () => {
  await expect(VideoEncoder.create({ vision: tower, visionPrecision: 'float16', ...quick })).rejects.toMatchObject({
    code: 'ERR_LONGVLM_UNSUPPORTED',
    message: `${tower}: a tower of its family is not computed in float16. Use float32 or int8.`,
  });
});

test('registering refuses what is none', () => {
  expect(() => registerTower({ name: 'x' } as never)).toThrow(
    'Expected function for family.open but received undefined',
  );
  expect(() => registerReducer({ name: '', create: () => firstTokens(1, 'tower') })).toThrow(/non-empty string/);
  expect(() => registerProjector(null as never)).toThrow(TypeError);
});

test('features of a foreign tower are not mistaken for those of another', async () => {
  const features = await vlm.encode(pico.video);
  expect(() => features.checkTower('0'.repeat(64))).toThrow(/were made by the vision tower/);
  expect((features.local as Float32Tensor).dims[2]).toBe(channels);
});
