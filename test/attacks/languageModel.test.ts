// Headers of language models that llama.cpp takes for granted, where it would end the process.
import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import type { GgufValue } from '../../dist/files/gguf.js';
import { describeModels, LanguageModel, LongVLM, VideoChat } from '../../dist/index.js';
import { type GgufContent, loadGguf, writeGguf } from '../fixtures/gguf/write.js';
import { expected, pico, picoOptions } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

const folder = await temporaryFolder();
const content = await loadGguf(pico.llm);
let files = 0;

type Change = (model: GgufContent) => void;
const set =
  (values: Record<string, GgufValue | undefined>): Change =>
  ({ metadata }) => {
    for (const [key, value] of Object.entries(values))
      if (value === undefined) metadata.delete(key);
      else metadata.set(key, value);
  };

async function changed(change: Change): Promise<string> {
  const model = { metadata: new Map(content.metadata), tensors: new Map(content.tensors) };
  change(model);
  return writeGguf(join(folder, `${files++}.gguf`), model);
}

const load = (path: string) => LanguageModel.load({ path, device: 'cpu', threads: 1 });
const tokens = content.metadata.get('tokenizer.ggml.tokens') as string[];
const asArchitecture =
  (name: string): Change =>
  ({ metadata }) => {
    for (const [key, value] of [...metadata])
      if (key.startsWith('llama.')) metadata.set(key.replace('llama', name), value);
    metadata.set('general.architecture', name);
  };

/** As Qwen3-VL's text model, with something else in its header. */
const axes =
  (values: Record<string, GgufValue>): Change =>
  (model) => {
    asArchitecture('qwen3vl')(model);
    const header = { 'rope.dimension_sections': [4, 2, 2, 0], ...values };
    set(Object.fromEntries(Object.entries(header).map(([key, value]) => [`qwen3vl.${key}`, value])))(model);
  };

describe('a header that cannot be right is refused before llama.cpp sees it', () => {
  test.each<[string, Change, RegExp]>([
    ...(
      ['block_count', 'context_length', 'embedding_length', 'feed_forward_length', 'attention.head_count'] as const
    ).flatMap((key): [string, Change, RegExp][] => [
      [`${key} of 0`, set({ [`llama.${key}`]: 0 }), new RegExp(`llama\\.${key} is 0 where`)],
      [`no ${key}`, set({ [`llama.${key}`]: undefined }), new RegExp(`(no|llama\\.)[^ ]* ?(llama\\.)?${key}|${key}`)],
      [`${key} as text`, set({ [`llama.${key}`]: 'x' }), new RegExp(`llama\\.${key} is x where`)],
    ]),
    ['too many layers', set({ 'llama.block_count': 0x7fffffff }), /block_count is 2147483647 where/],
    [
      'a norm of half precision',
      ({ tensors }) => {
        const norm = tensors.get('blk.1.ffn_norm.weight')!;
        tensors.set('blk.1.ffn_norm.weight', { ...norm, type: 'F16' });
      },
      /tensor blk\.1\.ffn_norm\.weight is of type F16, where only F32/,
    ],
    ['another width', set({ 'llama.embedding_length': 63 }), /64, the width of token_embd\.weight/],
    ['no sections of axes', asArchitecture('qwen3vl'), /no qwen3vl\.rope\.dimension_sections/],
    [
      'sections of nothing',
      axes({ 'rope.dimension_sections': [0, 0, 0, 0] }),
      /dimension_sections is a list of 4 where/,
    ],
    ['three sections', axes({ 'rope.dimension_sections': [4, 2, 2] }), /dimension_sections is a list of 3 where/],
    ['rows for more layers than there are', axes({ n_deepstack_layers: 100 }), /n_deepstack_layers is 100 where/],
    ['values of another length', axes({ 'attention.value_length': 8 }), /attention\.(value_length|head_count) is/],
    ['heads that are turned in part', axes({ 'rope.dimension_count': 8 }), /rope\.dimension_count is 8 where/],
    ...['llama', 'qwen2', 'qwen3', 'olmo2', 'smollm3'].flatMap((name): [string, Change, RegExp][] => {
      const other =
        (key: string): Change =>
        (model) => {
          asArchitecture(name)(model);
          set({ [`${name}.${key}`]: 8 })(model);
        };
      return [
        [`${name}, turned in part`, other('rope.dimension_count'), /rope\.dimension_count is 8 where/],
        [`${name}, values of another length`, other('attention.value_length'), /value_length|head_count/],
      ];
    }),
    ...['phi3', 'command-r', 'phi2', 'stablelm'].map((name): [string, Change, RegExp] => [
      `${name}, keys of another length`,
      (model) => {
        asArchitecture(name)(model);
        set({ [`${name}.attention.key_length`]: 8 })(model);
      },
      /attention\.key_length is 8 where \d+, as keys and values are of one length, is needed/,
    ]),
    [
      'heads of Gemma 3 that are not turned',
      (model) => {
        asArchitecture('gemma3')(model);
        set({ 'gemma3.rope.dimension_count': 0 })(model);
      },
      /rope\.dimension_count is 0 where/,
    ],
    ['no heads for keys', set({ 'llama.attention.head_count_kv': 0 }), /head_count_kv is 0 where at least 1/],
    ['heads that share unevenly', set({ 'llama.attention.head_count_kv': 3 }), /a part of 4 heads/],
    ['heads of a layer', set({ 'llama.attention.head_count': [4, 0] }), /head_count is a list of 2 where at least 1/],
    ['too few heads', set({ 'llama.attention.head_count': [4] }), /list of 1 where an integer, or a list of 2/],
    [
      'heads that do not fit',
      set({
        'llama.attention.head_count': 3,
        'llama.attention.head_count_kv': 3,
        'llama.rope.dimension_count': undefined,
      }),
      /head_count is 3 where an even length/,
    ],
    ['another inner width', set({ 'llama.feed_forward_length': 100 }), /160, the width of blk\.0\.ffn_down\.weight/],
    [
      'a negative epsilon',
      set({ 'llama.attention.layer_norm_rms_epsilon': -0.5 }),
      /epsilon is -0\.5 where a number from 0/,
    ],
    ['an epsilon of NaN', set({ 'llama.attention.layer_norm_rms_epsilon': Number.NaN }), /epsilon is NaN where/],
    ['heads of length 0', set({ 'llama.attention.key_length': 0 }), /key_length is 0 where/],
    ['experts without use', set({ 'llama.expert_count': 8 }), /expert_used_count/],
    ['more experts in use than there are', set({ 'llama.expert_used_count': 2 }), /at least 1 of 0 experts/],
    ['too many experts', set({ 'llama.expert_count': 5000, 'llama.expert_used_count': 2 }), /expert_count is 5000/],
    [
      'experts of 200,000 layers',
      set({ 'llama.expert_used_count': new Array<number>(200_000).fill(1) }),
      /a list of 200000 where an integer, or a list of \d, is needed/,
    ],
    ['an unknown scaling', set({ 'llama.rope.scaling.type': 'x' }), /none, linear, yarn or longrope/],
    ['a token twice', set({ 'tokenizer.ggml.tokens': [...tokens.slice(0, -1), tokens[9]!] }), /has a token twice/],
    [
      'too few tokens',
      set({ 'tokenizer.ggml.tokens': tokens.slice(0, -5) }),
      /643 rows, and the vocabulary 638 tokens/,
    ],
    ['too few scores', set({ 'tokenizer.ggml.scores': [0.5, 1] }), /scores has no value for each of 643 tokens/],
    ["an encoder's tokenizer", set({ 'tokenizer.ggml.model': 'bert' }), /tokenizer 'bert' writes no text/],
    [
      'tokens that differ behind a NUL',
      set({ 'tokenizer.ggml.tokens': tokens.map((_, id) => `a\0${id}`) }),
      /a token twice/,
    ],
    [
      'no bytes',
      set({
        'tokenizer.ggml.tokens': tokens.map((_, id) => `t${id}`),
        'tokenizer.ggml.token_type': tokens.map(() => 1),
      }),
      /has no token <0x00>/,
    ],
    [
      'bytes that are none',
      set({ 'tokenizer.ggml.token_type': tokens.map(() => 6) }),
      /token 0 is of the type of bytes/,
    ],
    ['too few types', set({ 'tokenizer.ggml.token_type': [1, 1] }), /token_type has no value for each/],
  ])('%s', async (_, change, message) => {
    await expect(load(await changed(change))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: expect.stringMatching(message),
    });
  });
});

describe('a model that cannot see a video is refused when it is loaded', () => {
  test.each<[string, Change, RegExp]>([
    ['qwen35', asArchitecture('qwen35'), /several positions each \(M-RoPE\)/],
    [
      'glm4 with sections',
      (model) => {
        asArchitecture('glm4')(model);
        model.metadata.set('glm4.rope.dimension_sections', [8, 4, 4, 0]);
      },
      /M-RoPE/,
    ],
    ['bert', asArchitecture('bert'), /makes embeddings of texts/],
    ['t5', asArchitecture('t5'), /an encoder and a decoder/],
    ['no order of tokens', (model) => model.metadata.set('llama.attention.causal', false), /from left to right/],
  ])('%s', async (_, change, message) => {
    const refused = { code: 'ERR_LONGVLM_UNSUPPORTED', message: expect.stringMatching(message) };
    await expect(load(await changed(change))).rejects.toMatchObject(refused);
  });

  test.each<[string, Change, RegExp]>([
    ['a second part', set({ 'split.no': 1, 'split.count': 2 }), /is part 2 of 2/],
    [
      "Ollama's merged file",
      ({ tensors }) => tensors.set('v.patch_embd.weight', tensors.get('output_norm.weight')!),
      /a language model and its vision tower in one file/,
    ],
  ])('%s', async (_, change, message) => {
    const refused = { code: 'ERR_LONGVLM_WEIGHTS', message: expect.stringMatching(message) };
    await expect(load(await changed(change))).rejects.toMatchObject(refused);
  });

  test('`longvlm info` says it as well', async () => {
    const llm = await changed(asArchitecture('qwen35'));
    await expect(describeModels({ ...picoOptions, llm })).rejects.toThrow(/M-RoPE/);
  });

  test('a chat template that is named, and is not there', async () => {
    await expect(LongVLM.load({ ...picoOptions, template: 'chat_template' })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_UNSUPPORTED',
      message: expect.stringMatching(/has no chat template\. Name another layout/),
    });
  });

  test('a chat template that cannot be used is described', async () => {
    const llm = await changed(set({ 'tokenizer.chat_template': "{{ raise_exception('No\u001b[31m way') }}" }));
    const { llm: described } = await describeModels({ ...picoOptions, llm });
    expect(described).toMatchObject({ template: 'chat_template', templateProblem: 'No [31m way' });
  });
});

test('a file that is cut while it is in use is told with the next question', async () => {
  const path = await changed(() => {});
  const model = await load(path);
  const chat = await VideoChat.create(model, await expected('video'));
  await chat.ask('what?', { maxTokens: 2 });
  await truncate(path, 5000);
  const cut = { code: 'ERR_LONGVLM_WEIGHTS', message: expect.stringMatching(/has been cut from \d+ to 5000 bytes/) };
  await expect(chat.ask('what?', { maxTokens: 2 })).rejects.toMatchObject(cut);
  await expect(VideoChat.create(model, await expected('video'))).rejects.toMatchObject(cut);
  await model.dispose();
});

test('a question or a system text of megabytes is refused before it is tokenised', async () => {
  const model = await load(pico.llm);
  try {
    const { model: inner } = model as unknown as { model: { tokenize(text: string): number[] } };
    const tokenize = vi.spyOn(inner, 'tokenize');
    const long = 'What is this? '.repeat(700_000);
    const full = expect.objectContaining({ code: 'ERR_LONGVLM_CONTEXT_FULL' });
    expect(() => VideoChat.checkFits(model, 10, long)).toThrow(full);
    expect(() => VideoChat.checkFits(model, 10, '?', { system: long })).toThrow(full);
    expect(VideoChat.requiredContextSize(model, 10, long)).toBe(model.trainContextSize);
    const video = { type: 'float32', data: new Float32Array(model.width), dims: [1, model.width] } as const;
    await expect(VideoChat.create(model, video, { system: long })).rejects.toEqual(full);
    const chat = await VideoChat.create(model, video);
    await expect(chat.ask(long)).rejects.toEqual(full);
    await chat.dispose();
    const characters = tokenize.mock.calls.reduce((sum, [text]) => sum + text.length, 0);
    expect(characters).toBeLessThan(500_000);
  } finally {
    await model.dispose();
  }
});

test('a question of 200,000 tokens does not fit', async () => {
  const model = await load(pico.llm);
  try {
    const check = () => VideoChat.checkFits(model, 10, '? '.repeat(200_000));
    expect(check).toThrow(expect.objectContaining({ code: 'ERR_LONGVLM_CONTEXT_FULL' }));
  } finally {
    await model.dispose();
  }
});
