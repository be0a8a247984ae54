// Prompts of models that were trained on videos, against the processors and chat templates of transformers; and videos in runs
// between texts, against transformers on the same weights.
import { readFileSync } from 'node:fs';
import type { LlamaModel, Token } from 'node-llama-cpp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runsOf } from '../../dist/encode/runs.js';
import { LanguageModel, type PromptLayout, VideoChat, type VideoRuns } from '../../dist/index.js';
import { tokensOfFirstTurn, tokensOfNextTurn, tokensOfPastTurn } from '../../dist/llm/prompt.js';
import { resolvePromptTemplate } from '../../dist/llm/templates.js';
import { type Architecture, conversations, runsOf as embeddingsOf, tinyModel } from '../fixtures/llms/index.js';

type Case = { frames: string; conversation: 'first' | 'system' | 'second'; ids: number[] };
const expected = JSON.parse(readFileSync(new URL('../fixtures/layouts/expected.json', import.meta.url), 'utf8')) as {
  times: Record<string, number[]>;
  durations: Record<string, number>;
  questions: [string, string];
  answer: string;
  system: string;
  families: Record<string, Case[]>;
};

// By layout: the tiny model, tokens of a step, frames of a step, tokens behind the video, what the model writes before an answer.
const families = {
  smolvlm: { of: 'llama', tokens: 3, frames: 1, ending: 0, space: ' ' },
  llava_onevision: { of: 'qwen2', tokens: 4, frames: 1, ending: 1, space: '' },
  internvl: { of: 'qwen3', tokens: 3, frames: 1, ending: 0, space: '' },
  qwen3_vl: { of: 'qwen3vl', tokens: 2, frames: 2, ending: 0, space: '' },
  qwen2_5_vl: { of: 'qwen2vl', tokens: 2, frames: 2, ending: 0, space: '' },
  gemma3: { of: 'gemma3', tokens: 3, frames: 1, ending: 0, space: '' },
} as const satisfies Record<string, { of: Architecture; tokens: number; frames: number; ending: 0 | 1; space: string }>;
type Family = keyof typeof families;

const models = new Map<Architecture, LanguageModel>();
beforeAll(async () => {
  for (const { of } of Object.values(families))
    models.set(of, await LanguageModel.load({ path: tinyModel(of), device: 'cpu', threads: 1, lazy: true }));
});
afterAll(() => Promise.all([...models.values()].map((model) => model.dispose())));

/** All tokens kept, a segment for each `perSegment` frames. */
function videoOf(family: Family, times: readonly number[], durationSeconds: number, perSegment: number): VideoRuns {
  const { tokens, frames } = families[family];
  const timestamps = Float32Array.from({ length: Math.ceil(times.length / perSegment) * perSegment }, (_, index) =>
    Number(times[Math.min(index, times.length - 1)]),
  );
  return runsOf({
    ...{ segments: timestamps.length / perSegment, segmentFrames: perSegment, globalLayers: 0 },
    ...{ tokensPerSegment: (perSegment / frames) * tokens, positions: undefined, timestamps },
    ...{ grid: { steps: perSegment / frames, rows: 1, columns: tokens }, end: durationSeconds, durationSeconds },
  });
}

/** The text of one token, special or not. */
const detokenize = (model: LanguageModel, id: number) =>
  (model as unknown as { model: LlamaModel }).model.detokenize([id as Token], true);

/** A first turn as ids, those of the video as one number below 0. */
function firstTurn(family: Family, video: VideoRuns, system = '', timestamps = false) {
  const model = models.get(families[family].of)!;
  const layout = resolvePromptTemplate(family);
  const ending: number = families[family].ending;
  const count = video.runs.reduce((sum, { tokens }) => sum + tokens, ending);
  const turn = tokensOfFirstTurn(model, layout, system, expected.questions[0], { video, timestamps, count });
  const shown = turn.video.flatMap((part) => ('text' in part ? part.text : [part.from - part.to]));
  return { model, layout, before: [...turn.before, ...shown] as number[], after: turn.after as number[] };
}

describe.each(Object.keys(families) as Family[])('the layout %s', (family) => {
  test.each(expected.families[family]!)(
    "is the processor's for $frames, $conversation",
    ({ frames, conversation, ids }) => {
      const { space, frames: perStep } = families[family];
      const video = videoOf(family, expected.times[frames]!, expected.durations[frames]!, perStep);
      const { model, layout, before, after } = firstTurn(
        family,
        video,
        conversation === 'system' ? expected.system : resolvePromptTemplate(family).system,
      );
      const [question, later] = expected.questions;
      if (conversation !== 'second') {
        expect([...before, ...after]).toEqual(ids);
        return;
      }
      const { answer } = expected;
      const past = tokensOfPastTurn(model, layout, { system: '', question, answer, isFirst: true });
      const shown = past ?? [...after, ...model.tokenize(space + answer)];
      expect([...before, ...shown, ...tokensOfNextTurn(model, layout, later)]).toEqual(ids);
    },
  );
});

test('frames that were encoded in larger segments are shown as single ones, unless they are merged', () => {
  const times = expected.times.some!;
  const ids = expected.families.internvl!.find(({ frames }) => frames === 'some')!.ids;
  const video = videoOf('internvl', times, expected.durations.some!, 4);
  const { before, after } = firstTurn('internvl', video);
  expect([...before, ...after]).toEqual(ids);
  const merged = { ...video, runs: [{ ...video.runs[0]!, kind: 'segment', times, tokens: 5 }] } as const;
  const text = (each: ReturnType<typeof firstTurn>) =>
    each.before.map((id) => (id < 0 ? `{${-id}}` : detokenize(each.model, id))).join('');
  expect(text(firstTurn('internvl', merged, '', true))).toBe('<|im_start|>user\nFrame1 [00:00]: <img>{5}');
  // The mean of the first and the last frame.
  expect(text(firstTurn('qwen3_vl', merged))).toBe('<|im_start|>user\n<7.0 seconds><|vision_start|>{5}');
  expect(text(firstTurn('gemma3', videoOf('gemma3', [1, 75], 90, 1), '', true))).toBe(
    '<bos><start_of_turn>user\n[00:01]\n\n<start_of_image>{3}<end_of_image>\n\n[01:15]\n\n<start_of_image>{3}',
  );
  expect(text(firstTurn('llava_onevision', videoOf('llava_onevision', [1, 75.9, 3601], 4000, 1), '', true))).toBe(
    '<|im_start|>user [00:01]{4}[01:15]{4}[1:00:01]{5}',
  );
});

/** A layout of given tokens. */
function layoutOf({ before, turns }: (typeof conversations)[Architecture]): PromptLayout {
  return {
    name: 'given',
    system: '',
    firstTurn: ({ video }) => [
      ...video.runs.flatMap((_, run) => [{ tokens: before[run]! }, { video: run }]),
      { tokens: turns[0]! },
    ],
    nextTurn: () => [{ tokens: turns[1]! }],
  };
}

describe.each(['llama', 'qwen2', 'qwen3', 'qwen3vl', 'gemma3'] as const)('a chat with a %s model', (architecture) => {
  const given = conversations[architecture];
  test.each(given.kept ? ['whole', 'picked'] : (['whole'] as const))(
    'answers about runs between texts as transformers does: %s',
    async (which) => {
      const embeddings = await embeddingsOf(architecture);
      const width = embeddings[0]!.dims[1]!;
      const [rows, columns] = given.grid ?? [1, embeddings[0]!.dims[0]!];
      const kept = embeddings.map(({ dims }, run) =>
        which === 'picked' ? given.kept![run]! : Array.from({ length: dims[0]! }, (_, place) => place),
      );
      const data = Float32Array.from(
        embeddings.flatMap(({ data }, run) =>
          kept[run]!.flatMap((place) => [...data.subarray(place * width, (place + 1) * width)]),
        ),
      );
      const runs = kept.map((places, index) => ({
        ...{ kind: 'step' as const, start: index, end: index + 1, times: [index], tokens: places.length },
        at: { rows, columns, places: Int32Array.from(places) },
      }));
      const video = { type: 'float32' as const, data, dims: [data.length / width, width] };
      const template = layoutOf(given);
      const model = models.get(architecture)!;
      const chat = await VideoChat.create(model, video, {
        ...{ template, runs: { runs, durationSeconds: runs.length } },
        attention: architecture === 'gemma3' ? 'full' : 'causal',
      });
      try {
        for (const answer of given.answers[which as 'whole']) {
          await chat.ask('?', { temperature: 0, maxTokens: answer.length });
          expect(chat.lastAnswer!.tokenIds).toEqual(answer);
        }
        const shown = runs.map(({ at: _, ...run }) => run);
        expect(chat.lastAnswer!.video.runs).toEqual(shown);
      } finally {
        await chat.dispose();
      }
    },
    60_000,
  );
});

test('a model that places tokens takes none that were averaged', async () => {
  const [first] = await embeddingsOf('qwen3vl');
  await expect(VideoChat.create(models.get('qwen3vl')!, first!)).rejects.toMatchObject({
    code: 'ERR_LONGVLM_MISMATCH',
    message: expect.stringMatching(/have no places.*reduction pick/),
  });
});

test('tokens that keep their places need as many places of the context as their frames are wide', async () => {
  const model = models.get('qwen3vl')!;
  const width = model.inputWidth;
  const video = { type: 'float32' as const, data: new Float32Array(4 * width).fill(0.01), dims: [4, width] };
  const at = { rows: 3, columns: 20, places: Int32Array.of(7, 19) };
  const runs = [0, 1].map((start) => ({ kind: 'step' as const, start, end: start + 1, times: [start], tokens: 2, at }));
  const options = { template: 'qwen3_vl', runs: { runs, durationSeconds: 2 } };
  const needed = VideoChat.requiredContextSize(model, 4, '?', { ...options, maxTokens: 3 });
  const chat = await VideoChat.create(model, video, { ...options, contextSize: needed });
  await chat.ask('?', { temperature: 0, maxTokens: 3 });
  const { stopReason, tokenIds } = chat.lastAnswer!;
  expect([stopReason, tokenIds.length]).toEqual(['maxTokens', 3]);
  await chat.dispose();
  const { runs: narrow } = { runs: runs.map((run) => ({ ...run, at: { ...at, rows: 10, columns: 2 } })) };
  const less = { ...options, runs: { runs: narrow, durationSeconds: 2 } };
  expect(VideoChat.requiredContextSize(model, 4, '?', { ...less, maxTokens: 3 })).toBe(needed - 20);
  expect(() => VideoChat.checkFits(model, 4, '?', { ...options, contextSize: 48 })).toThrow(
    /do not fit into .* 48 tokens. Raise contextSize, shorten the question, or start/,
  );
});
