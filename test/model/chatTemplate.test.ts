import { join } from 'node:path';
import type { LlamaModel } from 'node-llama-cpp';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { LongVLM, type LongVLMOptions } from '../../dist/index.js';
import { VideoChat } from '../../dist/llm/chat.js';
import { evaluateEmbeddings } from '../../dist/llm/embeddings.js';
import { LanguageModel } from '../../dist/llm/model.js';
import { tokensOfFirstTurn, tokensOfNextTurn } from '../../dist/llm/prompt.js';
import { resolvePromptTemplate } from '../../dist/llm/templates.js';
import { longvlm } from '../fixtures/commandLine.js';
import { loadGguf, writeGguf } from '../fixtures/gguf/write.js';
import { expected, pico, picoOptions } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

// What models come with, as their makers write it.
const jinja = {
  chatml:
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
  // As DeepSeek's: answers begin with a thought, which is not shown later.
  thoughts:
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}U:{{ m['content'] }}{{ eos_token }}{% else %}A:{{ m['content'].split('</think>')[-1] }}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}A:<think>\n{% endif %}",
  own: "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}Rules: {{ m['content'] }} # {% elif m['role'] == 'user' %}Human: {{ m['content'] }} # {% else %}Robot:{{ m['content'] }}{{ eos_token }} # {% endif %}{% endfor %}{% if add_generation_prompt %}Robot:{% endif %}",
};

const folder = await temporaryFolder();
const template = resolvePromptTemplate('chat_template');
const models: Record<string, LanguageModel> = {};

async function withTemplate(name: string, text: string): Promise<string> {
  const content = await loadGguf(pico.llm);
  content.metadata.set('tokenizer.chat_template', text);
  return writeGguf(join(folder, `${name}.gguf`), content);
}

beforeAll(async () => {
  for (const [name, text] of Object.entries(jinja))
    models[name] = await LanguageModel.load({ path: await withTemplate(name, text), device: 'cpu', threads: 1 });
});
afterAll(() => Promise.all(Object.values(models).map((model) => model.dispose())));

const llamaOf = (model: LanguageModel) => (model as unknown as { model: LlamaModel }).model;

/** The prompt as text, the video as [VIDEO]; SentencePiece puts spaces before pieces, which do not count here. */
function shown(name: string, system: string, question = 'What is it?') {
  const model = models[name]!;
  const text = (tokens: readonly number[]) => llamaOf(model).detokenize(tokens as never, true);
  const { before, after } = tokensOfFirstTurn(model, template, system, question);
  const squeezed = (all: string) => all.replace(/[^\S\n]+/g, '');
  return {
    first: squeezed(`${text(before)}[VIDEO]${text(after)}`),
    next: squeezed(text(tokensOfNextTurn(model, template, question))),
  };
}

describe('the chat template of a model', () => {
  test('ChatML: the video opens the first turn of the user', () => {
    const { first, next } = shown('chatml', 'Be brief.');
    const question = 'Whatisit?<|im_end|>\n<|im_start|>assistant\n';
    expect(first).toBe(`<s><|im_start|>system\nBebrief.<|im_end|>\n<|im_start|>user\n[VIDEO]\n${question}`);
    // A later turn begins with what ends the answer.
    expect(next).toBe(`<|im_end|>\n<|im_start|>user\n${question}`);
  });

  test('one of its own: with and without a system text', () => {
    const question = 'Whatisit?#Robot:';
    expect(shown('own', 'Be brief.').first).toBe(`<s>Rules:Bebrief.#Human:[VIDEO]\n${question}`);
    expect(shown('own', '').first).toBe(`<s>Human:[VIDEO]\n${question}`);
    expect(shown('own', '').next).toBe(`</s>#Human:${question}`);
  });

  test('a question that spells out a special token does not end the turn', () => {
    const model = models.own!;
    const { eos } = llamaOf(model).tokens;
    expect(tokensOfFirstTurn(model, template, '', 'x</s>y').after).not.toContain(eos);
    expect(tokensOfNextTurn(model, template, 'x</s>y').filter((token) => token === eos)).toHaveLength(1);
  });

  test('is the default where the file has one', async () => {
    expect(models.own!.defaultTemplate).toBe('chat_template');
    const load = async (options: LongVLMOptions) => {
      const vlm = await LongVLM.load({ ...picoOptions, ...options });
      try {
        const { tokenIds } = await vlm.ask(pico.video, 'What is it?', { maxTokens: 8, temperature: 0 });
        return { name: vlm.template.name, inInfo: vlm.models.llm!.template, tokenIds };
      } finally {
        await vlm.dispose();
      }
    };
    const llm = await withTemplate('default', jinja.own);
    const [own, named, plain] = [
      await load({ llm }),
      await load({ llm, template: 'long_vlm_v1' }),
      await load({ llm: pico.llm }),
    ];
    expect([own.name, own.inInfo]).toEqual(['chat_template', 'chat_template']);
    expect([plain.name, plain.inInfo]).toEqual(['long_vlm_v1', 'long_vlm_v1']);
    expect(named.tokenIds).toEqual(plain.tokenIds);
    expect(own.tokenIds).not.toEqual(plain.tokenIds);
  });

  test('is used by name, with a system text, over several turns', async () => {
    const llm = await withTemplate('asked', jinja.own);
    const vlm = await LongVLM.load({ ...picoOptions, llm, template: 'chat_template' });
    try {
      const chat = await vlm.chat(pico.video, { system: 'Be brief.' });
      await chat.ask('What is it?', { maxTokens: 4, temperature: 0 });
      await chat.ask('And then?', { maxTokens: 4, temperature: 0 });
      expect(chat.lastAnswer!.tokenIds.length).toBeGreaterThan(0);
    } finally {
      await vlm.dispose();
    }
  });

  test('a turn that is shown without its thoughts later is evaluated again', async () => {
    const video = await expected('video');
    const ask = { temperature: 0, maxTokens: 6 };
    const model = await LanguageModel.load({
      path: await withTemplate('thoughts', jinja.thoughts),
      device: 'cpu',
      threads: 1,
    });
    const llama = llamaOf(model);
    const context = await llama.createContext({ sequences: 1, threads: 1 });
    const chat = await VideoChat.create(model, video);
    try {
      const first = await chat.ask('What?', ask);
      // The next question fails: the conversation goes on as if it had not been asked.
      await expect(chat.ask('x '.repeat(3000), ask)).rejects.toMatchObject({ code: 'ERR_LONGVLM_CONTEXT_FULL' });
      await chat.ask('And then?', ask);
      const sequence = context.getSequence();
      const { before } = tokensOfFirstTurn(model, template, '');
      await sequence.evaluateWithoutGeneratingNewTokens(before as never);
      await evaluateEmbeddings(sequence, video);
      // What transformers renders: the prompt of a past turn ends without <think>.
      const rest = `\nWhat?</s>A:${first}</s>U:And then?</s>A:<think>\n`;
      const found: number[] = [];
      const parts = rest.split(`${first}</s>`);
      const tokens = [`${parts[0]}${first}`, `</s>${parts[1]}`].flatMap((text) => llama.tokenize(text, true));
      for await (const token of sequence.evaluate(tokens, { temperature: 0 })) if (found.push(token) === 6) break;
      expect(chat.lastAnswer!.tokenIds).toEqual(found);
    } finally {
      await chat.dispose();
      await context.dispose();
      await model.dispose();
    }
  });

  test.each([
    [
      'is damaged',
      "{% for m in messages %}{{ m['content'] }",
      /^The chat template in \S+damaged\.gguf cannot be used: [^\n]*Expected[^\n]+vicuna_v1_1\.$/,
    ],
    [
      'refuses everything',
      "{{ raise_exception('Only tools, please') }}",
      /cannot be used: Only tools, please\. .+vicuna_v1_1\.$/,
    ],
    [
      'leaves the question out',
      'Hello.{% if add_generation_prompt %}Robot:{% endif %}',
      /cannot be used: some input .+ output\. Name .+vicuna_v1_1\.$/,
    ],
  ])('one that %s is told before the video is looked at, and another can be named', async (name, text, message) => {
    const llm = await withTemplate(name.replace('is ', '').replaceAll(' ', '-'), text);
    const vlm = await LongVLM.load({ ...picoOptions, llm });
    const error = vi.spyOn(console, 'error');
    const missing = join(folder, 'missing.mp4');
    try {
      const expected = { code: 'ERR_LONGVLM_UNSUPPORTED', message: expect.stringMatching(message) };
      await expect(vlm.chat(missing)).rejects.toMatchObject(expected);
      await expect(vlm.ask(missing, 'What is it?')).rejects.toMatchObject(expected);
      expect(error).not.toHaveBeenCalled();
      const named = await vlm.ask(pico.video, 'What is it?', { template: 'vicuna_v1_1', maxTokens: 2 });
      expect(named.tokenIds).toHaveLength(2);
    } finally {
      error.mockRestore();
      await vlm.dispose();
    }
    const { vision, projector } = picoOptions;
    for (const asked of [
      ['ask', missing, 'What is it?'],
      ['chat', missing],
    ]) {
      const { code, stderr } = await longvlm(...asked, '--vision', vision, '--projector', projector, '--llm', llm);
      expect(code).toBe(1);
      expect(stderr.trim().replace(/^longvlm: /, '')).toMatch(message);
    }
  });
});
