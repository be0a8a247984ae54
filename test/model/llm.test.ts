import { copyFileSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { LlamaModel, Token } from 'node-llama-cpp';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Progress } from '../../dist/base/progress.js';
import type { Float32Tensor } from '../../dist/base/tensor.js';
import { VideoChat } from '../../dist/llm/chat.js';
import { evaluateEmbeddings } from '../../dist/llm/embeddings.js';
import { LanguageModel } from '../../dist/llm/model.js';
import { tokensOfFirstTurn, tokensOfNextTurn } from '../../dist/llm/prompt.js';
import { resolvePromptTemplate } from '../../dist/llm/templates.js';
import { expected, pico } from '../fixtures/index.js';

const greedy = { temperature: 0, maxTokens: 16 };
const { question } = pico.expected.prompt;

let model: LanguageModel;
let video: Float32Tensor;
const folder = mkdtempSync(path.join(tmpdir(), 'longvlm-llm-'));

beforeAll(async () => {
  model = await LanguageModel.load({ path: pico.llm, device: 'cpu', threads: 1 });
  video = await expected('video');
});
afterAll(async () => {
  await model.dispose();
  rmSync(folder, { recursive: true });
});

async function withChat<T>(use: (chat: VideoChat) => Promise<T>, options = {}, embeddings = video): Promise<T> {
  const chat = await VideoChat.create(model, embeddings, options);
  try {
    return await use(chat);
  } finally {
    await chat.dispose();
  }
}

describe('VideoChat', () => {
  test.each([
    ['video', 'greedy_linear'],
    ['video_mlp', 'greedy_mlp'],
  ] as const)("gives the reference's greedy tokens for the stored embeddings '%s'", async (name, ids) => {
    await withChat(
      async (chat) => {
        await chat.ask(question, greedy);
        expect(chat.lastAnswer?.tokenIds).toEqual(pico.expected[ids]);
        expect(chat.lastAnswer?.stopReason).toBe('maxTokens');
      },
      {},
      await expected(name),
    );
  });

  test('refuses a GPU that this machine cannot have', async () => {
    const device = process.platform === 'darwin' ? 'cuda' : 'metal';
    await expect(LanguageModel.load({ path: pico.llm, device })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_LLM',
      message: expect.stringMatching(`^llama.cpp cannot start on ${device}: .* use 'auto' or 'off' for the GPU\\.$`),
    });
  });

  test('puts prompt, video and question into the context and nothing else', async () => {
    await withChat(async (chat) => {
      const { before, after } = pico.expected.prompt;
      expect(chat.usedTokens).toBe(before.length + video.dims[0]!);
      await chat.ask(question, greedy);
      // The last token of a cut answer is evaluated with the next question.
      expect(chat.usedTokens).toBe(before.length + video.dims[0]! + after.length + 15);
      expect(chat.lastAnswer?.promptTokens).toBe(after.length);
    });
  });

  test('evaluates only the new text in a later turn', async () => {
    await withChat(async (chat) => {
      await chat.ask(question, greedy);
      const used = chat.usedTokens;
      await chat.ask('and then?', { temperature: 0, maxTokens: 4 });
      const { promptTokens, evaluatedTokens } = chat.lastAnswer!;
      // The end of the answer before, </s>, and the question: far less than the video's 29 tokens alone.
      expect(promptTokens).toBeLessThan(15);
      expect(evaluatedTokens).toBe(promptTokens + 3);
      expect(chat.usedTokens).toBe(used + evaluatedTokens);
    });
  });

  test('goes on as if the whole conversation had been read anew', async () => {
    const template = resolvePromptTemplate('long_vlm_v1');
    const answers = await withChat(async (chat) => {
      const asked = [];
      // The first answer is cut, and its last token not yet evaluated then.
      for (const text of [question, 'and then?']) {
        await chat.ask(text, greedy);
        asked.push(chat.lastAnswer!.tokenIds);
      }
      return asked;
    });
    const context = await (model as unknown as { model: LlamaModel }).model.createContext({ sequences: 1, threads: 1 });
    try {
      const sequence = context.getSequence();
      const { before, after } = tokensOfFirstTurn(model, template, template.system, question);
      await sequence.evaluateWithoutGeneratingNewTokens(before);
      const placeholder = model.specialToken('<vid_patch>')!;
      await evaluateEmbeddings(sequence, video, { placeholder });
      const rest = [...after, ...(answers[0] as Token[]), ...tokensOfNextTurn(model, template, 'and then?')];
      const found: number[] = [];
      for await (const token of sequence.evaluate(rest, { temperature: 0 })) {
        found.push(token);
        if (found.length === greedy.maxTokens) break;
      }
      expect(found).toEqual(answers[1]);
    } finally {
      await context.dispose();
    }
  });

  test('keeps two chats on one model apart when they answer at once', async () => {
    const other = await expected('video_mlp');
    const [first, second] = await Promise.all([VideoChat.create(model, video), VideoChat.create(model, other)]);
    try {
      await Promise.all([first.ask(question, greedy), second.ask(question, greedy)]);
      expect(first.lastAnswer?.tokenIds).toEqual(pico.expected.greedy_linear);
      expect(second.lastAnswer?.tokenIds).toEqual(pico.expected.greedy_mlp);
      await Promise.all([first.ask('and then?', greedy), second.ask('and then?', greedy)]);
      const alone = await withChat(async (chat) => {
        await chat.ask(question, greedy);
        await chat.ask('and then?', greedy);
        return chat.lastAnswer?.tokenIds;
      });
      expect(first.lastAnswer?.tokenIds).toEqual(alone);
      expect(second.lastAnswer?.tokenIds).not.toEqual(alone);
    } finally {
      await Promise.all([first.dispose(), second.dispose()]);
    }
  });

  test('answers questions of one chat in the order in which they were asked', async () => {
    await withChat(async (chat) => {
      const order: string[] = [];
      await Promise.all(
        ['one', 'two', 'three'].map((text) => chat.ask(text, { maxTokens: 3 }).then(() => order.push(text))),
      );
      expect(order).toEqual(['one', 'two', 'three']);
    });
  });

  test('streams the same text that ask() returns', async () => {
    const whole = await withChat((chat) => chat.ask(question, greedy));
    await withChat(async (chat) => {
      const pieces: string[] = [];
      for await (const piece of chat.stream(question, greedy)) pieces.push(piece);
      expect(pieces.length).toBeGreaterThan(3);
      expect(pieces.join('')).toBe(whole);
      expect(chat.lastAnswer?.text).toBe(whole);
    });
  });

  test('goes on after the loop over an answer is left', async () => {
    await withChat(async (chat) => {
      for await (const _ of chat.stream(question, greedy)) break;
      expect(chat.lastAnswer?.stopReason).toBe('left');
      await chat.ask('and then?', { maxTokens: 2 });
      expect(chat.lastAnswer?.tokenIds).toHaveLength(2);
    });
  });

  test('forgets an aborted turn: the same question then gets the same answer', async () => {
    await withChat(async (chat) => {
      const used = chat.usedTokens;
      const controller = new AbortController();
      const reason = new Error('enough');
      let pieces = 0;
      const aborted = (async () => {
        for await (const _ of chat.stream('something else', { temperature: 0, signal: controller.signal }))
          if (++pieces === 2) controller.abort(reason);
      })();
      await expect(aborted).rejects.toBe(reason);
      await chat.ask(question, greedy);
      expect(chat.lastAnswer?.tokenIds).toEqual(pico.expected.greedy_linear);
      expect(chat.usedTokens).toBe(used + chat.lastAnswer!.evaluatedTokens);
    });
  });

  test('forgets its turns at a reset, but not the video', async () => {
    await withChat(async (chat) => {
      expect(chat.canReset).toBe(true);
      const fixed = chat.usedTokens;
      await chat.ask('and then?', { temperature: 0, maxTokens: 5 });
      await chat.ask('and then?', { temperature: 0, maxTokens: 5 });
      await chat.reset();
      expect(chat.usedTokens).toBe(fixed);
      expect(chat.lastAnswer).toBeUndefined();
      await chat.ask(question, greedy);
      expect(chat.lastAnswer?.tokenIds).toEqual(pico.expected.greedy_linear);
      expect(chat.lastAnswer?.evaluatedTokens).toBeLessThan(video.dims[0]! + 16);
      await chat.reset();
      await chat.reset();
      await chat.ask(question, greedy);
      expect(chat.lastAnswer?.tokenIds).toEqual(pico.expected.greedy_linear);
    });
  });

  test('a reset waits for the turns before it, and those after it for the reset', async () => {
    await withChat(async (chat) => {
      const before = chat.ask('and then?', greedy);
      const reset = chat.reset();
      const after = chat.ask(question, greedy);
      await Promise.all([before, reset, after]);
      expect(chat.lastAnswer?.tokenIds).toEqual(pico.expected.greedy_linear);
    });
  });

  test('cannot be reset when it was disposed', async () => {
    const chat = await VideoChat.create(model, video);
    await chat.dispose();
    await expect(chat.reset()).rejects.toMatchObject({ code: 'ERR_LONGVLM_DISPOSED' });
  });

  test('rejects at once when the signal has aborted before', async () => {
    const signal = AbortSignal.abort(new Error('no'));
    await expect(VideoChat.create(model, video, { signal })).rejects.toThrow('no');
    await withChat(async (chat) => {
      await expect(chat.ask(question, { signal })).rejects.toThrow('no');
    });
  });

  test('aborts while the video is evaluated, and frees the context', async () => {
    const long: Float32Tensor = { type: 'float32', data: new Float32Array(900 * 64), dims: [900, 64] };
    const controller = new AbortController();
    // What stands for the video is asked for between the system text and the video.
    const specialToken = vi.spyOn(model, 'specialToken').mockImplementation((text) => {
      if (text === '<vid_patch>') setImmediate(() => controller.abort(new Error('stop')));
      return undefined;
    });
    const { model: llama } = model as unknown as { model: LlamaModel };
    const createContext = vi.spyOn(llama, 'createContext');
    try {
      await expect(VideoChat.create(model, long, { signal: controller.signal })).rejects.toThrow('stop');
      const context = await (createContext.mock.results[0]!.value as ReturnType<typeof llama.createContext>);
      await vi.waitUntil(() => context.disposed);
    } finally {
      specialToken.mockRestore();
      createContext.mockRestore();
    }
  });

  test('takes a GBNF grammar and a JSON schema', async () => {
    await withChat(async (chat) => {
      const grammar = 'root ::= ("yes" | "no")';
      expect(await chat.ask(question, { temperature: 0, grammar })).toMatch(/^(yes|no)$/);
      expect(chat.lastAnswer?.stopReason).toBe('endOfAnswer');
      const schema = { type: 'object', properties: { seen: { type: 'boolean' } } };
      const text = await chat.ask(question, { temperature: 0, maxTokens: 60, grammar: { jsonSchema: schema } });
      expect([chat.lastAnswer!.stopReason, text.at(-1)]).toEqual(['endOfAnswer', '}']);
      expect(JSON.parse(text)).toHaveProperty('seen');
    });
  });

  test('makes sampling repeatable by its seed', async () => {
    const draw = (seed: number) =>
      withChat(async (chat) => {
        await chat.ask(question, { temperature: 2, topK: 0, topP: 1, seed, maxTokens: 12 });
        return chat.lastAnswer?.tokenIds;
      });
    const [a, b, c] = [await draw(7), await draw(7), await draw(8)];
    expect(a).toEqual(b);
    expect(a).not.toEqual(c);
  });

  test('does not let a question spell out special tokens', async () => {
    await withChat(async (chat) => {
      await chat.ask('</s>', { maxTokens: 1 });
      // As one special token it would add 1; as text it is several.
      const plain = await withChat(async (other) => {
        await other.ask('x', { maxTokens: 1 });
        return other.lastAnswer!.promptTokens;
      });
      expect(chat.lastAnswer!.promptTokens).toBeGreaterThan(plain + 1);
    });
  });

  test('stops when the context is full, and says so', async () => {
    await withChat(
      async (chat) => {
        await chat.ask(question, { temperature: 0, maxTokens: 500 });
        expect(chat.lastAnswer?.stopReason).toBe('contextFull');
        await expect(chat.ask('and then?', greedy)).rejects.toMatchObject({
          name: 'LongVLMError',
          code: 'ERR_LONGVLM_CONTEXT_FULL',
        });
      },
      { contextSize: 256 },
    );
  });

  test.each([
    [
      'a video that does not fit',
      { contextSize: 64 },
      /29 tokens and 80 of the prompt do not fit into a context of 64/,
    ],
    [
      'a system text that does not fit',
      { system: 'word '.repeat(2000) },
      /do not fit into the 1023 free places of a context of 1024/,
    ],
  ])('refuses %s', async (_, options, message) => {
    await expect(VideoChat.create(model, video, options)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_CONTEXT_FULL',
      message: expect.stringMatching(message),
    });
  });

  test('refuses a question that does not fit, and can still answer a shorter one', async () => {
    await withChat(async (chat) => {
      await expect(chat.ask('word '.repeat(2000), greedy)).rejects.toMatchObject({
        code: 'ERR_LONGVLM_CONTEXT_FULL',
        message: expect.stringContaining('shorten the question'),
      });
      await chat.ask(question, greedy);
      expect(chat.lastAnswer?.tokenIds).toEqual(pico.expected.greedy_linear);
    });
  });

  test('refuses embeddings of another width than the language model', async () => {
    const wide: Float32Tensor = { type: 'float32', data: new Float32Array(2 * 128), dims: [2, 128] };
    await expect(VideoChat.create(model, wide)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_MISMATCH',
      message: expect.stringMatching(/128 wide but .*llm\.gguf takes 64/),
    });
  });

  test.each([
    [{ temperature: -1 }, 'RangeError', /for temperature but received -1/],
    [{ temperature: 'hot' }, 'TypeError', /for temperature but received 'hot'/],
    [{ maxTokens: 0 }, 'RangeError', /positive integer for maxTokens/],
    [{ topP: 2 }, 'RangeError', /between 0 and 1 for topP/],
    [{ stop: 'x' }, 'TypeError', /array of strings for stop/],
    [{ grammar: 5 }, 'TypeError', /GBNF text or \{ jsonSchema \} for grammar/],
    [{ signal: {} }, 'TypeError', /AbortSignal for signal/],
  ])('refuses the option %o', async (options, name, message) => {
    await withChat(async (chat) => {
      await expect((async () => chat.ask(question, options as object))()).rejects.toMatchObject({
        name,
        message: expect.stringMatching(message),
      });
    });
  });

  test('refuses a grammar that does not parse', async () => {
    await withChat(async (chat) => {
      await expect(chat.ask(question, { grammar: 'root ::= (' })).rejects.toMatchObject({ code: 'ERR_LONGVLM_LLM' });
    });
  });

  test('ends a turn in progress when it is disposed, also one that nobody reads on', async () => {
    const chat = await VideoChat.create(model, video);
    const stream = chat.stream(question, greedy);
    await stream.next();
    await chat.dispose();
    await chat.dispose();
    expect(chat.disposed).toBe(true);
    await expect(chat.ask(question)).rejects.toMatchObject({ code: 'ERR_LONGVLM_DISPOSED' });
    await expect(stream.next()).rejects.toMatchObject({ code: 'ERR_LONGVLM_DISPOSED' });
  });
});

describe('prompts', () => {
  /** The tokens that a prompt takes are told by the model itself. */
  const tokensOf = (text: string) => (model as unknown as { model: LlamaModel }).model.tokenize(text).length;

  test.each([
    [
      'vicuna_v1_1',
      "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
    ],
    ['long_vlm_v1', JSON.parse(readFileSync(path.join(pico.clip, '../prompt.json'), 'utf8')).system as string],
  ] as const)('%s puts its system text before the video', async (template, system) => {
    await withChat(
      async (chat) => {
        // <s>, the text, <vid_start>, the video.
        expect(chat.usedTokens).toBe(1 + tokensOf(`${system} USER: `) + 1 + 29);
      },
      { template },
    );
  });

  test('another system text, and none, take the place of that of the template', async () => {
    for (const system of ['Be brief.', ''])
      await withChat(
        async (chat) => {
          expect(chat.usedTokens).toBe(1 + tokensOf(system === '' ? 'USER: ' : `${system} USER: `) + 1 + 29);
        },
        { system },
      );
  });

  test.each(['vicuna_v1_1', 'long_vlm_v1'] as const)(
    '%s ends the turn before with </s>, as Vicuna does',
    (template) => {
      const { tokens, tokenize } = (model as unknown as { model: LlamaModel }).model;
      expect(tokensOfNextTurn(model, resolvePromptTemplate(template), 'and then?')).toEqual([
        tokens.eos,
        ...tokenize('USER: and then? ASSISTANT:'),
      ]);
    },
  );

  test('a vocabulary without the video tokens goes without', async () => {
    const bytes = readFileSync(pico.llm).toString('latin1');
    const file = path.join(folder, 'plain.gguf');
    writeFileSync(
      file,
      Buffer.from(bytes.replaceAll('<vid_start>', '<abc_start>').replaceAll('<vid_end>', '<abc_end>'), 'latin1'),
    );
    const plain = await LanguageModel.load({ path: file, device: 'cpu', threads: 1 });
    try {
      const chat = await VideoChat.create(plain, video);
      expect(chat.usedTokens).toBe(pico.expected.prompt.before.length - 1 + 29);
      await chat.ask(question, { maxTokens: 1 });
      expect(chat.lastAnswer?.promptTokens).toBe(pico.expected.prompt.after.length - 1);
    } finally {
      await plain.dispose();
    }
  });

  test('a stop text ends the answer, which does not include it', async () => {
    const whole = await withChat((chat) => chat.ask(question, greedy));
    const stop = whole.slice(8, 11);
    await withChat(async (chat) => {
      expect(await chat.ask(question, { ...greedy, stop: [stop] })).toBe(whole.slice(0, whole.indexOf(stop)));
      expect(chat.lastAnswer?.stopReason).toBe('stop');
    });
  });
});

describe('LanguageModel.load()', () => {
  const bad = (name: string, bytes: Uint8Array | string) => {
    const file = path.join(folder, name);
    writeFileSync(file, bytes);
    return file;
  };

  test.each([
    ['a missing file', () => path.join(folder, 'none.gguf'), 'ERR_LONGVLM_FILE', /none\.gguf does not exist/],
    ['a folder', () => folder, 'ERR_LONGVLM_FILE', /is a folder, not a file/],
    ['an empty file', () => bad('empty.gguf', ''), 'ERR_LONGVLM_WEIGHTS', /empty\.gguf.*an empty file/],
    ['a text file', () => bad('text.gguf', 'hello, world'.repeat(99)), 'ERR_LONGVLM_WEIGHTS', /is a text that begins/],
    ['a video', () => pico.video, 'ERR_LONGVLM_WEIGHTS', /is a video or a picture/],
    [
      'a file cut in its header',
      () => bad('header.gguf', readFileSync(pico.llm).subarray(0, 3000)),
      'ERR_LONGVLM_WEIGHTS',
      /header\.gguf.*truncated/,
    ],
    [
      'a file cut in its tensors',
      () => bad('cut.gguf', readFileSync(pico.llm).subarray(0, 500_000)),
      'ERR_LONGVLM_WEIGHTS',
      /cut\.gguf.*truncated: tensor/,
    ],
    ['an mmproj file', () => pico.mmproj, 'ERR_LONGVLM_UNSUPPORTED', /vision tower and its projector/],
  ])('refuses %s', async (_, file, code, message) => {
    await expect(LanguageModel.load({ path: file(), device: 'cpu' })).rejects.toMatchObject({
      name: 'LongVLMError',
      code,
      message: expect.stringMatching(message),
    });
  });

  test('tells a device that is not there', async () => {
    await expect(LanguageModel.load({ path: pico.llm, device: 'tpu' as 'cpu' })).rejects.toThrow(
      /one of auto, cpu, cuda, vulkan, metal for device but received 'tpu'/,
    );
  });

  test('reports the share that is loaded, of a lazy one when the rest is', async () => {
    for (const lazy of [false, true]) {
      const seen: Progress[] = [];
      const onProgress = (progress: Progress) => seen.push(progress);
      const loaded = await LanguageModel.load({ path: pico.llm, device: 'cpu', threads: 1, lazy, onProgress });
      try {
        if (lazy) {
          expect(seen).toEqual([]);
          await (await VideoChat.create(loaded, video)).dispose();
        }
        for (const progress of seen)
          expect(progress).toEqual({ stage: 'load', done: progress.done, total: 1, unit: 'share', name: 'llm.gguf' });
        const shares = seen.map(({ done }) => done);
        expect(shares).toEqual([...new Set(shares)].sort((a, b) => a - b));
        expect(shares.at(-1)).toBe(1);
        // Reports that llama.cpp sends late are not passed on.
        await new Promise((resolve) => setImmediate(resolve));
        expect(seen).toHaveLength(shares.length);
      } finally {
        await loaded.dispose();
      }
    }
  });

  test('rejects when aborted', async () => {
    const signal = AbortSignal.abort(new Error('no'));
    await expect(LanguageModel.load({ path: pico.llm, signal })).rejects.toThrow('no');
  });

  test('of a lazy one reads what questions are checked against, and the rest for the first chat', async () => {
    const lazy = await LanguageModel.load({ path: pico.llm, device: 'cpu', threads: 1, lazy: true });
    try {
      expect([lazy.width, lazy.trainContextSize, lazy.name]).toEqual([model.width, model.trainContextSize, model.name]);
      expect(VideoChat.requiredContextSize(lazy, 29, question)).toBe(
        VideoChat.requiredContextSize(model, 29, question),
      );
      const controller = new AbortController();
      const reason = new Error('enough');
      const aborted = VideoChat.create(lazy, video, { signal: controller.signal });
      controller.abort(reason);
      await expect(aborted).rejects.toBe(reason);
      const chats = await Promise.all([VideoChat.create(lazy, video), VideoChat.create(lazy, video)]);
      for (const chat of chats) {
        await chat.ask(question, greedy);
        expect(chat.lastAnswer?.tokenIds).toEqual(pico.expected.greedy_linear);
        await chat.dispose();
      }
    } finally {
      await lazy.dispose();
    }
    await expect(VideoChat.create(lazy, video)).rejects.toMatchObject({ code: 'ERR_LONGVLM_DISPOSED' });
  });

  test('of a lazy one can be tried again when the rest could not be loaded', async () => {
    const [file, away] = ['moved.gguf', 'away'].map((name) => path.join(folder, name));
    copyFileSync(pico.llm, file!);
    const lazy = await LanguageModel.load({ path: file!, device: 'cpu', threads: 1, lazy: true });
    renameSync(file!, away!);
    await expect(VideoChat.create(lazy, video)).rejects.toThrow(/moved\.gguf/);
    renameSync(away!, file!);
    const chat = await VideoChat.create(lazy, video);
    await chat.ask(question, greedy);
    expect(chat.lastAnswer?.tokenIds).toEqual(pico.expected.greedy_linear);
    await lazy.dispose();
  });

  test('of a lazy one can be disposed before and while the rest is loaded', async () => {
    const load = () => LanguageModel.load({ path: pico.llm, device: 'cpu', threads: 1, lazy: true });
    await (await load()).dispose();
    const used = await load();
    const chat = VideoChat.create(used, video);
    chat.catch(() => {});
    await used.dispose();
    await expect(chat).rejects.toMatchObject({ code: 'ERR_LONGVLM_DISPOSED' });
  });
});
