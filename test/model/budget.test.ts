// A number of tokens for the whole video; its tokens as runs of known times, in features, files, prompts and answers.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LongVLM, type PromptLayout, type SamplingRequest, VideoFeatures } from '../../dist/index.js';
import { pico, picoOptions } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

// pico: 20 frames in 4 segments of 5, each of 5 · 16 patches; 5 global tokens; 20.16 s.
const folder = await temporaryFolder();
let vlm: LongVLM;
let features: VideoFeatures;
beforeAll(async () => {
  vlm = await LongVLM.load(picoOptions);
  features = await vlm.encode(pico.video);
});
afterAll(() => vlm.dispose());

const encode = (sampling: SamplingRequest) => vlm.encode(pico.video, { sampling });

describe('a budget of tokens', () => {
  const patches = 16;
  test.each([
    ['is shared by segments alike, rounded down', { tokens: 50 }, 11],
    ['gives each of them at least one', { tokens: 3 }, 1],
    ['is at most all there are', { tokens: 100_000 }, 5 * patches],
    ['counts the global tokens', { tokens: 44, globalLayers: 4 }, 10],
  ])('%s', (_, sampling, perSegment) => {
    expect(vlm.encoder.settle(sampling).tokensPerSegment).toBe(perSegment);
  });

  test.each([
    ['gives', { tokens: 50, fps: 0.5 }, 22],
    ['gives, at most', { tokens: 50, fps: 30, maxFrames: 17 }, 15],
  ])('is shared by as many segments as a rate %s', async (_, sampling, perSegment) => {
    const found = await encode(sampling);
    expect(found.local.dims[1]).toBe(perSegment);
    expect(found.sampling.tokensPerSegment).toBe(perSegment);
    expect(found.sampling).not.toHaveProperty('tokens');
  });

  test('that is all reduces nothing', async () => {
    const all = await encode({ tokens: 'all', frames: 10 });
    expect(all.sampling).toMatchObject({ reduction: 'all', tokensPerSegment: 5 * patches });
    const { local } = await encode({ reduction: 'subsample', tokensPerSegment: 5 * patches, frames: 10 });
    expect(all.local.data).toEqual(local.data);
    expect(all.runs.filter(({ kind }) => kind === 'step')).toHaveLength(10);
  });

  test('excludes a number of tokens for each segment, of which the later one wins', async () => {
    await expect(encode({ tokens: 50, tokensPerSegment: 6 })).rejects.toThrow(/nothing, as tokensPerSegment is given/);
    await expect(encode({ tokens: 'some' as never })).rejects.toThrow(/positive integer or 'all' for tokens/);
    expect(vlm.encoder.settle({ tokens: 50 }).tokensPerSegment).toBe(11);
    expect(vlm.encoder.settle({ tokensPerSegment: 7 }).tokensPerSegment).toBe(7);
  });

  test('that would fit is named before a video is opened', async () => {
    const asked = vlm.ask('no such video.mp4', 'what?', { contextSize: 400, sampling: { tokens: 'all' } });
    const message = await asked.then(String, (error: Error) => error.message);
    const fitting = Number(/at most (\d+) tokens \(tokens: \1, --tokens \1\)/.exec(message)![1]);
    expect(fitting).toBeGreaterThan(0);
    expect(() => vlm.checkQuestion('what?', { contextSize: 400, sampling: { tokens: fitting } })).not.toThrow();
  });
});

describe('the places of picked tokens', () => {
  test('are kept in a file', async () => {
    const picked = await encode({ reduction: 'pick', tokensPerSegment: 6 });
    expect(picked.grid).toEqual({ steps: 5, rows: 4, columns: 4 });
    expect(picked.positions).toHaveLength(24);
    const file = join(folder, 'picked.safetensors');
    await picked.save(file);
    expect(await VideoFeatures.load(file)).toEqual(picked);
    const bytes = readFileSync(file);
    const header = bytes.toString('latin1', 8, 8 + Number(bytes.readBigUInt64LE(0)));
    const changed = (from: string, to: string) => {
      expect(header).toContain(from);
      const other = join(folder, 'changed.safetensors');
      writeFileSync(
        other,
        Buffer.concat([
          bytes.subarray(0, 8),
          Buffer.from(header.replace(from, to), 'latin1'),
          bytes.subarray(8 + header.length),
        ]),
      );
      return VideoFeatures.load(other);
    };
    const grid = '\\"steps\\":5,\\"rows\\":4';
    for (const [from, to] of [
      [grid, '\\"steps\\":3,\\"rows\\":4'],
      [grid, '\\"steps\\":5,\\"rows\\":1'],
      [grid, '\\"steps\\":5,\\"rows\\":0'],
      [grid, '\\"steps\\":5,\\"rowz\\":4'],
      ['"grid":', '"grit":'],
      ['"dtype":"I32"', '"dtype":"F32"'],
      ['"dtype":"I32","shape":[4,6]', '"dtype":"I32","shape":[6,4]'],
    ] as const)
      await expect(changed(from, to), to).rejects.toMatchObject({ code: 'ERR_LONGVLM_WEIGHTS' });
    const positions = picked.positions!.slice();
    positions.set([positions[1]!, positions[0]!]);
    const disordered = () => new VideoFeatures({ ...picked, positions });
    expect(disordered).toThrow(/for positions\[1\] but received/);
  });

  test('are none where tokens are means', () => {
    expect(features.positions).toBeUndefined();
  });

  test('features whose record nobody would read are not saved', async () => {
    const warnings = ['x'.repeat(2 ** 20)];
    const long = new VideoFeatures({ ...features, source: { ...features.source, warnings } });
    await expect(long.save(join(folder, 'long.safetensors'))).rejects.toThrow(
      /1048576 characters for the video of features/,
    );
  });
});

test('an answer says which part of the video each run of tokens stands for', async () => {
  const { video } = await vlm.ask(features, 'what?', { maxTokens: 1 });
  expect(video.runs).toEqual(features.runs);
  expect(video.runs.map(({ kind, tokens }) => [kind, tokens])).toEqual([
    ['global', 5],
    ...Array.from({ length: 4 }, () => ['segment', 6]),
  ]);
  expect(video.runs.at(-1)!.end).toBeCloseTo(20.16, 2);
  expect((await vlm.ask(features, 'what?', { part: 'local', maxTokens: 1 })).video.runs).toHaveLength(4);
});

describe('a prompt', () => {
  test('has the times of runs on request, for which there must be room', async () => {
    const size = (timestamps: boolean) => vlm.requiredContextSize(features, 'what?', { timestamps, maxTokens: 1 });
    const llm = await vlm.chat(features, { timestamps: true, contextSize: size(true) });
    const times = ['[00:00]', '[00:05]', '[00:10]', '[00:15]'];
    expect(size(true) - size(false)).toBeGreaterThan(times.length * 3);
    expect(llm.usedTokens).toBeGreaterThan(features.tokenCount + times.length * 3);
    const answers = [
      await vlm.ask(features, 'what?', { timestamps: true, temperature: 0, maxTokens: 8 }),
      await vlm.ask(features, 'what?', { temperature: 0, maxTokens: 8 }),
    ];
    expect(answers[0]!.tokenIds).not.toEqual(answers[1]!.tokenIds);
    await llm.dispose();
  });

  const layout = (...shown: (number | 'all')[]): PromptLayout => ({
    name: 'runs',
    system: '',
    firstTurn: ({ question }) => [...shown.map((video) => ({ video })), question],
    nextTurn: () => [],
  });
  test.each([
    ['leaves one out', layout(0, 1, 2, 3)],
    ['shows them in another order', layout(0, 2, 1, 3, 4)],
    ['shows one twice', layout(0, 1, 2, 3, 4, 4)],
    ['shows the whole as well', layout('all', 4)],
    ['shows one that is none', layout(0, 1, 2, 3, 4.5)],
  ])('is refused if it %s', async (_, template) => {
    await expect(vlm.ask(features, 'what?', { template })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_UNSUPPORTED',
    });
  });
});
