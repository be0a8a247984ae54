import type { LlamaModel, Token } from 'node-llama-cpp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Float32Tensor } from '../../dist/base/tensor.js';
import { LongVLM } from '../../dist/index.js';
import { VideoChat } from '../../dist/llm/chat.js';
import { evaluateEmbeddings } from '../../dist/llm/embeddings.js';
import { LanguageModel } from '../../dist/llm/model.js';
import type { PromptLayout, PromptPiece } from '../../dist/llm/promptLayout.js';
import { promptTemplateNames, registerPromptTemplate, resolvePromptTemplate } from '../../dist/llm/templates.js';
import { expected, pico, picoOptions } from '../fixtures/index.js';

// The toy of somebody else: the video comes last before the question, between marks that pico's vocabulary has and one that
// it lacks.
const toy: PromptLayout = {
  name: 'toy',
  system: 'Watch.',
  firstTurn: ({ system, question }, model) => [
    `${system}`,
    '\n',
    { special: '<vid_start>' },
    { special: '<not in the vocabulary>' },
    { video: 'all' },
    { tokens: model.tokenize('now') },
    `Q: ${question}`,
    '\nA:',
  ],
  nextTurn: ({ question }) => [{ endOfAnswer: true }, `Q: ${question}\nA:`],
};
registerPromptTemplate(toy);

const greedy = { temperature: 0, maxTokens: 6 };
let model: LanguageModel;
let llama: LlamaModel;
let video: Float32Tensor;

beforeAll(async () => {
  model = await LanguageModel.load({ path: pico.llm, device: 'cpu', threads: 1 });
  llama = (model as unknown as { model: LlamaModel }).model;
  video = await expected('video');
});
afterAll(() => model.dispose());

async function asked(template: PromptLayout | string, ...questions: string[]): Promise<(readonly number[])[]> {
  const chat = await VideoChat.create(model, video, { template });
  try {
    const answers: (readonly number[])[] = [];
    for (const question of questions) {
      await chat.ask(question, greedy);
      answers.push(chat.lastAnswer!.tokenIds);
    }
    return answers;
  } finally {
    await chat.dispose();
  }
}

describe('registerPromptTemplate()', () => {
  test('makes a layout from outside one to chat in: what it says is what the model sees', async () => {
    const answers = await asked('toy', 'what </s>?', 'and then?');
    const context = await llama.createContext({ sequences: 1, threads: 1 });
    try {
      const sequence = context.getSequence();
      const start = model.specialToken('<vid_start>') as Token;
      const { bos, eos } = llama.tokens;
      await sequence.evaluateWithoutGeneratingNewTokens([bos!, ...llama.tokenize('Watch.\n'), start]);
      await evaluateEmbeddings(sequence, video);
      const prompts = [
        [...llama.tokenize('now'), ...llama.tokenize('Q: what </s>?\nA:')],
        [...(answers[0]!.slice(-1) as Token[]), eos!, ...llama.tokenize('Q: and then?\nA:')],
      ];
      for (const [index, prompt] of prompts.entries()) {
        const found: number[] = [];
        for await (const token of sequence.evaluate(prompt, { temperature: 0 }))
          if (found.push(token) === greedy.maxTokens) break;
        expect(found).toEqual(answers[index]);
      }
    } finally {
      await context.dispose();
    }
  });

  test('makes it known by its name, also to a model that is loaded', async () => {
    const families = ['llava_onevision', 'internvl', 'smolvlm', 'qwen3_vl', 'qwen2_5_vl', 'gemma3'];
    expect(promptTemplateNames).toEqual(['long_vlm_v1', 'vicuna_v1_1', 'chat_template', ...families, 'toy']);
    expect(resolvePromptTemplate('toy').system).toBe(toy.system);
    const vlm = await LongVLM.load({ ...picoOptions, template: 'toy' });
    try {
      expect(vlm.template.name).toBe('toy');
      const features = await vlm.encode(pico.video);
      const { tokenIds } = await vlm.ask(features, 'what?', greedy);
      expect(tokenIds).toEqual((await vlm.ask(features, 'what?', { ...greedy, template: toy })).tokenIds);
      const { promptTokens } = await vlm.ask(features, 'what?', { ...greedy, template: 'long_vlm_v1' });
      expect(promptTokens).not.toBe((await vlm.ask(features, 'what?', greedy)).promptTokens);
    } finally {
      await vlm.dispose();
    }
  });

  test('replaces the layout with the same name, as other registries do', () => {
    const other = { ...toy, system: 'Look.' };
    registerPromptTemplate(other);
    expect(resolvePromptTemplate('toy').system).toBe('Look.');
    expect(promptTemplateNames).toHaveLength(10);
    registerPromptTemplate(toy);
    expect(resolvePromptTemplate('toy').system).toBe(toy.system);
  });

  test.each([
    ['nothing', undefined, 'TypeError', /object for layout but/],
    ['no name', { ...toy, name: '' }, 'RangeError', /non-empty string for layout\.name/],
    ['no system text', { ...toy, name: 'x', system: undefined }, 'TypeError', /string for layout\.system/],
    ['no first turn', { ...toy, name: 'x', firstTurn: [] }, 'TypeError', /function for layout\.firstTurn/],
    ['a past turn that is none', { ...toy, pastTurn: 'x' }, 'TypeError', /function for layout\.pastTurn/],
    ['no next turn', { name: 'x', system: '', firstTurn: toy.firstTurn }, 'TypeError', /function for layout\.nextTurn/],
  ])('refuses a layout with %s', (_, layout, name, message) => {
    expect(() => registerPromptTemplate(layout as never)).toThrow(
      expect.objectContaining({ name, message: expect.stringMatching(message) }),
    );
  });
});

describe('a layout that is given as it is', () => {
  const layout = (...pieces: PromptPiece[]): PromptLayout => ({ ...toy, firstTurn: () => pieces });

  test.each([
    ['leaves the video out', layout('USER:'), /^The prompt layout toy has no video in its first turn\./],
    ['shows it twice', layout({ video: 'all' }, { video: 'all' }), /toy has the video in more than one place\./],
    [
      'asks before it shows the video',
      { ...toy, firstTurn: ({ question }) => [question, { video: 'all' }] } satisfies PromptLayout,
      /toy puts the question before the video, which is evaluated first\. .* behind the video/,
    ],
  ])('is refused before anything is encoded when it %s', async (_, template, message) => {
    const refused = { code: 'ERR_LONGVLM_UNSUPPORTED', message: expect.stringMatching(message) };
    expect(() => VideoChat.checkFits(model, 29, 'what?', { template })).toThrow(expect.objectContaining(refused));
    await expect(VideoChat.create(model, video, { template })).rejects.toMatchObject(refused);
  });

  test('is refused with a piece that is none', () => {
    const template = layout({ video: 'all' }, { text: 'x' } as never);
    expect(() => VideoChat.checkFits(model, 29, 'what?', { template })).toThrow(TypeError);
  });

  test("may be a built-in one with other words: Vicuna's way is read anew", async () => {
    const vicuna = resolvePromptTemplate('vicuna_v1_1');
    const own = { ...vicuna, name: 'own', assistant: 'The assistant who saw it all' };
    const { firstTurn: _, nextTurn: __, ...words } = own;
    expect(await asked(own, 'what?', 'why?')).toEqual(await asked(words as never, 'what?', 'why?'));
    expect(await asked(own, 'what?')).not.toEqual(await asked(vicuna, 'what?'));
    expect(() => resolvePromptTemplate({ ...words, separator: undefined } as never)).toThrow(
      'Expected string for template.separator but received undefined',
    );
  });
});
