// A vision tower and a language model of different families, and embeddings that do not fit: told before a video is encoded.
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { evaluateEmbeddings, LanguageModel, LongVLM, projectFrames, VideoChat } from '../../dist/index.js';
import { longvlm } from '../fixtures/commandLine.js';
import { pico } from '../fixtures/index.js';
import { type Architecture, tinyModel } from '../fixtures/llms/index.js';

const tower = (name: string) => fileURLToPath(new URL(`../fixtures/towers/${name}`, import.meta.url));
const load = (vision: string, llm: Architecture) =>
  LongVLM.load({
    ...{ vision: tower(vision), llm: tinyModel(llm), device: 'cpu', gpu: 'off', threads: 1, lazy: true },
    ...{ frames: 2, segmentFrames: 2, tokensPerSegment: 2, cache: false },
  });

test('a language model with DeepStack, and a tower without its rows, of equal width', async () => {
  await expect(load('llava_onevision', 'qwen3vl')).rejects.toMatchObject({
    code: 'ERR_LONGVLM_MISMATCH',
    message: expect.stringMatching(
      /gives embeddings of 96 channels but the language model .* takes 288 channels \(3 rows of 96\)\. Use the two/,
    ) as unknown,
  });
});

describe('a language model without the special tokens of the layout', () => {
  const opened: LongVLM[] = [];
  afterAll(() => Promise.all(opened.map((each) => each.dispose())));

  test.each<[string, Architecture, string]>([
    ['smolvlm', 'qwen2', '<end_of_utterance>, <fake_token_around_image>, <global-img>'],
    ['llava_onevision', 'gemma3', '<|im_start|>, <|im_end|>'],
  ])('that the tower %s is used with: %s', async (vision, llm, missing) => {
    const vlm = await load(vision, llm);
    opened.push(vlm);
    const refusal = vlm.ask('no such video.mp4', 'what?');
    await expect(refusal).rejects.toMatchObject({ code: 'ERR_LONGVLM_MISMATCH' });
    const message = await refusal.catch((error: Error) => error.message);
    for (const mark of missing.split(', ')) expect(message).toContain(mark);
    expect(message).toContain(`which ${tinyModel(llm)} does not have`);
    // Their own layout may be named.
    const { text } = await vlm.ask(pico.video, 'what?', { template: 'vicuna_v1_1', maxTokens: 2 });
    expect(text).not.toBe('');
  });
});

test('a projector beside a tower that has one', async () => {
  const pixels = { type: 'float32', data: new Float32Array(3 * 64 * 64), dims: [1, 3, 64, 64] } as const;
  const options = { vision: tower('smolvlm'), projector: pico.projector, threads: 1 };
  await expect(projectFrames(pixels, options)).rejects.toMatchObject({
    code: 'ERR_LONGVLM_MISMATCH',
    message: expect.stringMatching(/smolvlm has a projector of its own, which needs none from .*projector/) as unknown,
  });
});

test('tokens without places, where the language model needs them', async () => {
  const model = await LanguageModel.load({ path: tinyModel('qwen3vl'), device: 'cpu', threads: 1, lazy: true });
  const video = { type: 'float32', data: new Float32Array(2 * model.inputWidth), dims: [2, model.inputWidth] } as const;
  const run = { kind: 'segment', start: 0, end: 1, times: [0], tokens: 2 } as const;
  try {
    const chat = VideoChat.create(model, video, { runs: { runs: [run], durationSeconds: 1 } });
    await expect(chat).rejects.toThrow(
      /have no places: .* did not keep places\. Encode it again with the reduction pick/,
    );
  } finally {
    await model.dispose();
  }
});

test('places of tokens that are not in their frame', async () => {
  const model = await LanguageModel.load({ path: tinyModel('qwen3vl'), device: 'cpu', threads: 1, lazy: true });
  const video = { type: 'float32', data: new Float32Array(2 * model.inputWidth), dims: [2, model.inputWidth] } as const;
  try {
    for (const places of [
      [0, 6],
      [-1, 2],
      [3, 3],
      [4, 1],
    ]) {
      const at = { rows: 2, columns: 3, places: Int32Array.from(places) };
      const run = { kind: 'step', start: 0, end: 1, times: [0], tokens: 2, at } as const;
      const chat = VideoChat.create(model, video, { runs: { runs: [run], durationSeconds: 1 } });
      await expect(chat).rejects.toThrow(/^Expected integer between \d and 5 for runs\.runs\[0\]\.at\.places\[[01]\]/);
    }
  } finally {
    await model.dispose();
  }
});

test('a part of the video that there is not, and more tokens than there are', async () => {
  const vlm = await load('smolvlm', 'llama');
  try {
    const features = await vlm.encode(pico.video);
    await expect(vlm.ask(features, 'what?', { part: 'global' })).rejects.toThrow(
      /^Expected both or local for part but received 'global': the features of video\.mp4 have no global tokens/,
    );
    await expect(vlm.encode(pico.video, { sampling: { tokensPerSegment: 9 } })).rejects.toThrow(
      /^Expected integer between 1 and 8 for tokensPerSegment but received 9/,
    );
  } finally {
    await vlm.dispose();
  }
});

test.each(['0', '-1', '1e9', 'some'])('--tokens %s', async (tokens) => {
  const { stderr, code } = await longvlm('ask', 'no such video.mp4', 'what?', '--tokens', tokens);
  expect(code).toBe(2);
  expect(stderr).toContain(`'--tokens <n>' argument '${tokens}' is invalid. Give a positive integer, or all.`);
});

test('options that are none', async () => {
  const sequence = { _sequenceId: 0, _context: { _ctx: { getContextSize: () => 8 } } } as never;
  const embeddings = { type: 'float32', data: new Float32Array(4), dims: [1, 4] } as const;
  for (const wrong of [null, 5])
    await expect(evaluateEmbeddings(sequence, embeddings, wrong as never)).rejects.toThrow(
      /^Expected object for options but received /,
    );
});
