import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LongVLM, type PromptTemplate, type VideoFeatures } from '../../dist/index.js';
import { knownModel } from '../../dist/models/catalogue.js';
import { start } from '../fixtures/commandLine.js';
import { pico, picoOptions } from '../fixtures/index.js';

// What holds whatever nano's weights and numbers are: that it is what is used where nothing else is named.
const { options } = knownModel('nano');
const nano = options as typeof options &
  Record<'frames' | 'segmentFrames' | 'tokensPerSegment' | 'globalLayers', number>;
const folder = fileURLToPath(new URL('../../models/nano', import.meta.url));
const quick = { device: 'cpu', threads: 1 } as const;
const question = 'What comes first?';
const maxTokens = 12;
const seeds = [1, 2, 3];

const env = { LONGVLM_VISION: undefined, LONGVLM_PROJECTOR: undefined, LONGVLM_LLM: undefined };
const longvlm = (...args: string[]) => start(args, env).result;

let vlm: LongVLM;
let features: VideoFeatures;

beforeAll(async () => {
  vlm = await LongVLM.load(quick);
  features = await vlm.encode(pico.video);
});
afterAll(() => vlm.dispose());

describe('LongVLM.load() without models', () => {
  test("loads nano's models, and samples as nano was trained", () => {
    expect(vlm.preset).toBe('nano');
    expect(vlm.models).toMatchObject({
      vision: { path: path.join(folder, 'clip') },
      projector: { path: path.join(folder, 'projector.safetensors') },
      llm: { path: path.join(folder, 'llm.gguf') },
    });
    const { frames, segmentFrames, tokensPerSegment, globalLayers, resize } = nano;
    expect(vlm.sampling).toMatchObject({ frames, segmentFrames, tokensPerSegment, globalLayers, resize });
  });

  test("answers at nano's temperature unless another is named", async () => {
    expect(nano.temperature).toBe(0);
    const greedy = await answerOf({ temperature: 0 });
    // The seed would show in every answer that is sampled.
    for (const seed of seeds) expect(await answerOf({ seed })).toEqual(greedy);
    const hot = [];
    for (const seed of seeds) hot.push(String(await answerOf({ seed, temperature: 50 })));
    expect(new Set(hot).size).toBeGreaterThan(1);
  });

  test('so do its chats', async () => {
    const greedy = await answerOf({ temperature: 0 });
    for (const seed of seeds) {
      const chat = await vlm.chat(features);
      await chat.ask(question, { maxTokens, seed });
      expect(chat.lastAnswer?.tokenIds).toEqual(greedy);
      await chat.dispose();
    }
  });

  test("asks in nano's template unless another is named", async () => {
    const asked = await vlm.ask(features, question, { maxTokens: 1 });
    const named = await vlm.ask(features, question, { maxTokens: 1, template: nano.template });
    expect(named).toMatchObject({ promptTokens: asked.promptTokens, tokenIds: asked.tokenIds });
    const wordy = { ...(nano.template as PromptTemplate), assistant: 'The assistant who saw it all' };
    const other = await vlm.ask(features, question, { maxTokens: 1, template: wordy });
    expect(other.promptTokens).toBeGreaterThan(asked.promptTokens);
  });

  test('lets every option be named', async () => {
    const other = await LongVLM.load({
      ...quick,
      frames: 2 * nano.segmentFrames,
      tokensPerSegment: 3,
      template: 'vicuna_v1_1',
    });
    try {
      expect(other.sampling).toMatchObject({
        frames: 2 * nano.segmentFrames,
        segmentFrames: nano.segmentFrames,
        tokensPerSegment: 3,
        resize: nano.resize,
      });
      expect(other.tokenCount).toBe(nano.globalLayers + 2 * 3);
    } finally {
      await other.dispose();
    }
  });

  test('checks frames and segmentFrames against each other with defaults in place', async () => {
    await expect(LongVLM.load({ ...quick, frames: nano.segmentFrames + 1 })).rejects.toMatchObject({
      name: 'RangeError',
      message: expect.stringContaining(`multiple of segmentFrames (${nano.segmentFrames}) for frames`),
    });
  });

  test('is not what a caller gets who names models', async () => {
    const own = await LongVLM.load(picoOptions);
    try {
      expect(own.preset).toBeUndefined();
      expect(own.sampling).toMatchObject({ resize: 'crop', frames: picoOptions.frames });
    } finally {
      await own.dispose();
    }
  });
});

async function answerOf(options: object): Promise<readonly number[]> {
  return (await vlm.ask(features, question, { maxTokens, ...options })).tokenIds;
}

test('the package ships its models', () => {
  const { files } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  expect(files).toContain('models');
});

describe('longvlm without models', () => {
  test('ask answers', async () => {
    const { code, stdout } = await longvlm(
      'ask',
      pico.video,
      question,
      '--max-tokens',
      '12',
      '--json',
      '--device',
      'cpu',
    );
    expect(code).toBe(0);
    const { frames, segmentFrames, tokensPerSegment, globalLayers } = nano;
    const segments = frames / segmentFrames;
    expect(JSON.parse(stdout).video).toMatchObject({
      frames,
      segments,
      tokens: globalLayers + segments * tokensPerSegment,
    });
  });

  test('info describes nano by its name', async () => {
    const { code, stdout } = await longvlm('info', '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      preset: { name: 'nano', frames: nano.frames, temperature: nano.temperature },
      vision: { path: path.join(folder, 'clip') },
      llm: { path: path.join(folder, 'llm.gguf') },
    });
    expect((await longvlm('info')).stdout).toMatch(/^preset\n {2}name +nano\n/m);
  });

  test('help names the default of models that have none of their own', async () => {
    const help = (await longvlm('ask', '--help')).stdout.replace(/\s+/g, ' ');
    expect(help).toContain("frames sampled, evenly (default: the model's own, or 100)");
    expect(help).toContain("frames in one segment (default: the model's own, or 10)");
    expect(help).toContain("(default: the model's own, or 0.2)");
  });
});
