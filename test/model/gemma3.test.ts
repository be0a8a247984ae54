// Against transformers: Gemma 3's vision tower with its projector, and answers about videos, in which a frame's tokens attend to
// each other.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openSafetensors, readTensor } from '../../dist/files/safetensors.js';
import { LanguageModel, LongVLM, projectFrames, VideoChat } from '../../dist/index.js';
import { openTower, towerTensors } from '../../dist/tower/families.js';
import { gemma3, relativeError } from '../fixtures/index.js';
import { tinyModel } from '../fixtures/llms/index.js';
import { tensorOf } from '../fixtures/vision/index.js';

const expected = (name: string) => tensorOf(gemma3.expected, name);

describe('the projected tokens of a Gemma 3', () => {
  const difference = async (projector: string, precision: 'float32' | 'float16') => {
    const due = await expected('tokens');
    const { tokens } = await projectFrames(await expected('pixels'), { projector, threads: 1, precision });
    expect(tokens.dims).toEqual(due.dims);
    return relativeError(tokens.data, due.data);
  };

  test.each([
    ["transformers' layout", gemma3.hub],
    ['an mmproj file', gemma3.mmproj],
  ])('are those of transformers from %s', async (_, path) => {
    expect(await difference(path, 'float32')).toBeLessThan(1e-5);
    // Four times the half of a step of float16.
    expect(await difference(path, 'float16')).toBeLessThan(2e-3);
  });

  test('come of pictures that are squashed by a bilinear filter', async () => {
    for (const path of [gemma3.hub, gemma3.mmproj])
      expect((await openTower(path)).config).toMatchObject({
        ...{ resize: 'squash', filter: 'bilinear', imageSize: 42, patches: 9, grid: [3, 3], channels: 96 },
        ...{ mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
      });
  });

  test('have their tensors found in a model', async () => {
    const own = [...(await openSafetensors(`${gemma3.hub}/model.safetensors`)).tensors.keys()];
    const found = towerTensors([...own, 'language_model.model.norm.weight']);
    expect([...found].sort()).toEqual(own.sort());
  });
});

describe('videos with a Gemma 3', () => {
  let vlm: LongVLM;
  beforeAll(async () => {
    vlm = await LongVLM.load({ vision: gemma3.hub, llm: tinyModel('gemma3'), device: 'cpu', threads: 1 });
  });
  afterAll(() => vlm.dispose());
  // The first two of three are sampled.
  const frames = { frames: [...gemma3.pictures, gemma3.pictures[1]!] };
  const whole = { sampling: { frames: 2, segmentFrames: 1, tokens: 'all' } } as const;
  const greedy = { temperature: 0, maxTokens: 16 };
  const due = async () => {
    const { tensors } = await openSafetensors(gemma3.expected);
    const ids = [...((await readTensor(tensors.get('answers')!)) as Int32Array)];
    return [ids.slice(0, 16), ids.slice(16)];
  };
  const answer = async (chat: VideoChat, question: string) => {
    await chat.ask(question, greedy);
    return chat.lastAnswer!.tokenIds;
  };

  test("have transformers' answers about frames as pictures, in two turns, and again", async () => {
    const chat = await vlm.chat(frames, whole);
    const [first, second] = await due();
    expect(await answer(chat, ' Who?\n')).toEqual(first);
    expect(await answer(chat, 'And?')).toEqual(second);
    expect(chat.lastAnswer!.video.runs.map(({ kind, tokens }) => [kind, tokens])).toEqual([
      ['step', 9],
      ['step', 9],
    ]);
    // The language model has a sliding window of 24 tokens, less than is taken back.
    expect(chat.canReset).toBe(true);
    await chat.reset();
    const aborted = chat.ask('Who?', { ...greedy, onText: () => Promise.reject(new Error('enough')) });
    await expect(aborted).rejects.toThrow('enough');
    await chat.reset();
    expect(await answer(chat, 'Who?')).toEqual(first);
    expect(await answer(chat, 'And?')).toEqual(second);
    await chat.dispose();
  });

  test('are answered about with fewer tokens, and run by run, also with runs larger than the usual batch of 512', async () => {
    const chat = await vlm.chat(frames, { sampling: { frames: 2, segmentFrames: 2, tokens: 5 } });
    expect(chat.videoTokens).toBe(5);
    expect(await answer(chat, 'Who?')).not.toEqual((await due())[0]);
    await chat.dispose();

    const llm = await LanguageModel.load({ path: tinyModel('gemma3'), device: 'cpu', threads: 1 });
    const data = Float32Array.from({ length: 600 * 96 }, (_, index) => Math.sin(index));
    const video = { type: 'float32', data, dims: [600, 96] } as const;
    const answers = [];
    for (const attention of ['full', 'causal'] as const)
      answers.push(await answer(await VideoChat.create(llm, video, { attention }), 'Who?'));
    expect(answers[0]).not.toEqual(answers[1]);
    const run = (tokens: number) => ({ kind: 'step', start: 0, end: 1, times: [0], tokens }) as const;
    const runs = { runs: [run(100), run(500)], durationSeconds: 1 };
    const layout = (shown: readonly ('all' | number)[]) => ({
      ...{ name: 'bare', system: '', nextTurn: () => [] },
      firstTurn: () => [...shown.map((video) => ({ video })), 'Who?'],
    });
    // Also without text between them, tokens see none of a later run.
    for (const shown of [['all'], [0, 1]] as const) {
      const chat = await VideoChat.create(llm, video, { attention: 'full', runs, template: layout(shown) });
      answers.push(await answer(chat, '?'));
    }
    expect(answers[2]).toEqual(answers[3]);
    await expect(VideoChat.create(llm, video, { attention: 'none' as 'full' })).rejects.toThrow(
      "Expected one of causal, full for attention but received 'none'",
    );
    await llm.dispose();
  });
});
