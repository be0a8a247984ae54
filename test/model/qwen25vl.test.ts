// Against transformers: Qwen2.5-VL's vision tower on pixels and on a picture, and a video in whose places time passes.
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  LanguageModel,
  type PromptLayout,
  projectFrames,
  readSegments,
  VideoChat,
  VideoEncoder,
  type VideoRuns,
  VisionEncoder,
} from '../../dist/index.js';
import { openTower, towerTensors } from '../../dist/tower/families.js';
import { frameGeometry } from '../../dist/tower/pixels.js';
import { loadGguf, writeGguf } from '../fixtures/gguf/write.js';
import { qwen25vl, relativeError } from '../fixtures/index.js';
import { conversations, runsOf, tinyModel } from '../fixtures/llms/index.js';
import { loadTensors, temporaryFolder, tensorOf } from '../fixtures/vision/index.js';

const folder = await temporaryFolder();
const expected = (name: string) => tensorOf(qwen25vl.expected, name);
const width = 12;

// llama.cpp's converter does not write the width of windows, which in released models is 112 pixels.
async function withWindow(path: string): Promise<string> {
  const content = await loadGguf(qwen25vl.mmproj);
  content.metadata.set('clip.vision.window_size', 16);
  return writeGguf(path, content);
}

describe.each([
  ['a folder', qwen25vl.folder],
  ['an mmproj file', await withWindow(join(folder, 'mmproj.gguf'))],
])('the tower in %s', (_, projector) => {
  // In tokens: 3 x 5, whose last windows are not whole; 2 x 2, one window; and one token.
  test.each([
    [2, 6, 10],
    [1, 4, 4],
    [1, 2, 2],
  ])('gives embeddings for a grid of %i %i %i', async (...grid) => {
    const name = grid.join(' ');
    const { tokens, deepstack } = await projectFrames(await expected(`pixels ${name}`), {
      projector,
      grid,
      threads: 1,
    });
    expect(tokens.dims).toEqual([grid[0], (grid[1] * grid[2]) / 4, width]);
    expect(deepstack).toBeUndefined();
    expect(relativeError(tokens.data, (await expected(`tokens ${name}`)).data)).toBeLessThan(1e-5);
  });

  test('is placed in time, two positions a second', async () => {
    const { projection, config, template } = await openTower(projector);
    expect(projection).toMatchObject({ width, positionsPerSecond: 2 });
    expect(config).toMatchObject({ reduction: 'pick', framesPerStep: 2, cell: { pixels: 8, patches: 2 } });
    expect(template).toBe('qwen2_5_vl');
  });
});

// What rounding costs with these weights.
test.each([
  ['float16', 5e-3],
  ['int8', 5e-2],
] as const)('the tower loses little in %s', async (precision, most) => {
  const options = { projector: qwen25vl.folder, grid: [2, 6, 10], precision, threads: 1 } as const;
  const { tokens } = await projectFrames(await expected('pixels 2 6 10'), options);
  const error = relativeError(tokens.data, (await expected('tokens 2 6 10')).data);
  expect(error).toBeLessThan(most);
  expect(error).toBeGreaterThan(1e-5);
});

test('an mmproj file that says nothing of windows has those of released models', async () => {
  const [stated, silent] = [await openTower(join(folder, 'mmproj.gguf')), await openTower(qwen25vl.mmproj)];
  expect(stated.details.windows).toBe('2x2 tokens, in all layers but 1');
  expect(silent.details.windows).toBe('14x14 tokens, in all layers but 1');
});

test('a picture gets size, pixels and embeddings as from transformers', async () => {
  const source = await openTower(qwen25vl.folder);
  const resized = await expected('resized');
  const size = source.sizeOf!({ width: 51, height: 33, frames: 2 });
  const geometry = frameGeometry(source.config, undefined, size);
  for await (const { frames, dims } of readSegments(qwen25vl.picture, { frames: 2, segmentFrames: 2, geometry })) {
    expect(dims).toEqual([2, ...resized.dims]);
    const sum = resized.data.reduce((total, value, at) => total + Math.abs(value - frames[at]!), 0);
    expect(sum / resized.data.length).toBeLessThan(0.5);
  }
  const encoder = await VisionEncoder.create({ path: qwen25vl.folder, threads: 1 });
  const count = (size.width * size.height) / 64;
  const frames = Uint8Array.from([...resized.data, ...resized.data]);
  const { local } = await encoder.encodeSegment(frames, { size, tokensPerSegment: count });
  expect(relativeError(local.data, (await expected('tokens picture')).data)).toBeLessThan(1e-5);
  await encoder.dispose();
});

describe('files', () => {
  test('hold the tower by its names, whatever else is there', async () => {
    const names = Object.keys(await loadTensors(join(qwen25vl.folder, 'model.safetensors')));
    const nested = names.map((name) => `model.${name}`);
    expect(towerTensors([...nested, 'model.language_model.norm.weight'])).toEqual(nested);
  });

  test.each([
    [{ fullatt_block_indexes: [1, 0] }, /fullatt_block_indexes 1,0 are not layers from 0 to 2 that ascend/],
    [{ fullatt_block_indexes: [3] }, /fullatt_block_indexes 3 are not layers/],
    [
      { window_size: 7 },
      /window_size 7 is less than vision_config.spatial_merge_size 2 patches of vision_config.patch_size 4/,
    ],
    [{ num_heads: 3 }, /hidden_size 16 is no multiple of 4 times vision_config.num_heads 3/],
    [{ depth: 4 }, /it has no layer 3/],
    [{ hidden_act: 'swig' }, /hidden_act/],
  ])('that say %j are refused', async (vision, message) => {
    const path = join(folder, JSON.stringify(vision).replace(/\W/g, ''));
    await mkdir(path);
    const own = JSON.parse(await readFile(join(qwen25vl.folder, 'config.json'), 'utf8')) as { vision_config: object };
    const whole = { ...own, vision_config: { ...own.vision_config, ...vision } };
    await writeFile(join(path, 'config.json'), JSON.stringify(whole));
    await copyFile(join(qwen25vl.folder, 'model.safetensors'), join(path, 'model.safetensors'));
    await expect(openTower(path)).rejects.toMatchObject({ message: expect.stringMatching(message) });
  });

  test('of an older converter have the two outer layers of an MLP by the name of the other', async () => {
    const content = await loadGguf(join(folder, 'mmproj.gguf'));
    const other = (which: string) => (which === 'up' ? 'ffn_down' : 'ffn_up');
    const swapped = [...content.tensors].map(
      ([name, tensor]) => [name.replace(/ffn_(up|down)/, (_, which: string) => other(which)), tensor] as const,
    );
    const path = await writeGguf(join(folder, 'swapped.gguf'), { ...content, tensors: new Map(swapped) });
    const options = { projector: path, grid: [1, 4, 4], threads: 1 } as const;
    const { tokens } = await projectFrames(await expected('pixels 1 4 4'), options);
    expect(relativeError(tokens.data, (await expected('tokens 1 4 4')).data)).toBeLessThan(1e-5);
  });
});

describe('how large frames are', () => {
  const options = { vision: qwen25vl.folder, device: 'cpu', threads: 1, lazy: true } as const;
  const shapes = async (sampling: object) => {
    const encoder = await VideoEncoder.create({ ...options, frames: 4, segmentFrames: 4 });
    try {
      const { grid, local, positions } = await encoder.encode(qwen25vl.picture, { sampling });
      return { ...grid!, kept: local.dims[1], positions: positions && [...positions] };
    } finally {
      await encoder.dispose();
    }
  };

  test('is what the model says, or fewer pixels on request', async () => {
    // 51 x 33 pixels, of which the model has at most 1024: 32 x 24; a cell is 8 x 8.
    expect(await shapes({ tokens: 'all' })).toMatchObject({ steps: 2, rows: 3, columns: 4, kept: 24 });
    expect(await shapes({ tokens: 'all', maxPixels: 400 })).toMatchObject({ rows: 2, columns: 3, kept: 12 });
    expect(await shapes({ tokens: 'all', maxPixels: 1 })).toMatchObject({ rows: 1, columns: 1, kept: 2 });
  });

  test('follows a budget of tokens, so that none is computed to be dropped, unless a reduction is asked for', async () => {
    expect(await shapes({ tokens: 13 })).toMatchObject({ rows: 1, columns: 3, kept: 6 });
    expect(await shapes({ tokens: 1 })).toMatchObject({ rows: 1, columns: 1, kept: 1 });
    expect(await shapes({ tokens: 12, reduction: 'pick' })).toMatchObject({ rows: 3, columns: 4, kept: 12 });
    expect(await shapes({ tokens: 12, reduction: 'uniform' })).toMatchObject({ rows: 3, columns: 4, kept: 12 });
    expect(await shapes({ tokens: 4, maxPixels: 400 })).toMatchObject({ rows: 2, columns: 3, kept: 4 });
  });

  test('is what features are cached by, and no matter of towers of one size', async () => {
    const { samplingIdentity } = await import('../../dist/encode/sampling.js');
    const { pico } = await import('../fixtures/index.js');
    const encoder = await VideoEncoder.create({ ...options, frames: 4, segmentFrames: 4, tokensPerSegment: 4 });
    const of = (sampling: object) => samplingIdentity(encoder.settle(sampling));
    // 256 tokens of a step.
    expect(of({})).toMatchObject({ maxPixels: 256 * 64 });
    expect(of({ maxPixels: 5000 })).toMatchObject({ maxPixels: 5000 });
    expect(of({ tokens: 8 })).toMatchObject({ fitsBudget: true });
    expect(of({ tokens: 8, reduction: 'pick' })).not.toMatchObject({ fitsBudget: true });
    await encoder.dispose();
    await expect(VideoEncoder.create({ ...options, vision: pico.mmproj, maxPixels: 5000 })).rejects.toThrow(
      /nothing, as the vision tower takes frames of one size, for maxPixels but received 5000/,
    );
    await expect(VideoEncoder.create({ ...options, maxPixels: 0 })).rejects.toThrow(/maxPixels but received 0/);
  });
});

describe('a conversation about a video in whose places time passes', () => {
  const given = conversations.qwen2vl;
  const [rows, columns] = given.grid!;
  let model: LanguageModel;
  beforeAll(async () => {
    model = await LanguageModel.load({ path: tinyModel('qwen2vl'), device: 'cpu', threads: 1, lazy: true });
  });
  afterAll(() => model.dispose());

  const layout: PromptLayout = {
    name: 'given',
    system: '',
    firstTurn: () => [{ tokens: given.before[0]! }, { video: 'all' }, { tokens: given.turns[0]! }],
    nextTurn: () => [{ tokens: given.turns[1]! }],
  };

  function runsWith(kept: readonly (readonly number[])[]) {
    const runs = kept.map((places, step) => ({
      ...{ kind: 'step' as const, start: given.times![step]!, end: given.times![step]! + 1.5 },
      ...{ times: [given.times![step]!], tokens: places.length },
      at: { rows, columns, places: Int32Array.from(places) },
    }));
    return { runs, durationSeconds: 6, positionsPerSecond: given.perSecond! };
  }

  const whole = given.times!.map(() => Array.from({ length: rows * columns }, (_, place) => place));

  test.each(['whole', 'picked'] as const)(
    "has transformers' answers, in two turns: %s",
    async (which) => {
      const [all] = await runsOf('qwen2vl');
      const kept = which === 'whole' ? whole : given.kept!;
      const rowsAt = kept.flatMap((places, step) => places.map((place) => step * rows * columns + place));
      const size = all!.dims[1]!;
      const data = Float32Array.from(rowsAt.flatMap((row) => [...all!.data.subarray(row * size, (row + 1) * size)]));
      const video = { type: 'float32' as const, data, dims: [rowsAt.length, size] };
      const chat = await VideoChat.create(model, video, { template: layout, runs: runsWith(kept) });
      try {
        for (const answer of given.answers[which]!) {
          await chat.ask('?', { temperature: 0, maxTokens: answer.length });
          expect(chat.lastAnswer!.tokenIds).toEqual(answer);
        }
      } finally {
        await chat.dispose();
      }
    },
    30_000,
  );

  test("has the places of transformers' version 5 within the video", () => {
    expect(given.places).toEqual(given.places5);
    // The last step is at 4.5 s: 9 positions, which is more than a frame has rows or columns.
    expect(given.places!.at(-1)).toEqual([9, rows - 1, columns - 1]);
  });

  test('needs places of the context for the time that passes, and for each frame where texts tell the time', () => {
    const needed = (timestamps: boolean, runs: VideoRuns) =>
      VideoChat.requiredContextSize(model, 4, '?', { template: 'qwen2_5_vl', timestamps, maxTokens: 1, runs });
    const video = runsWith([[0], [1], [2], [3]]);
    const at = { rows: 1, columns: 1, places: Int32Array.of(0) };
    // A place for each of its tokens.
    const small = { runs: video.runs.map((run) => ({ ...run, at })), durationSeconds: 6 };
    expect(needed(false, video) - needed(false, small)).toBe(10 - 4);
    expect(needed(true, video) - needed(true, small)).toBe(4 * columns - 4);
  });
});
