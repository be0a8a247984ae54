import type { Llama, LlamaContextSequence, LlamaModel, Token } from 'node-llama-cpp';
import { getLlama } from 'node-llama-cpp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Float32Tensor, numberToHalf } from '../../dist/base/tensor.js';
import { VideoChat } from '../../dist/llm/chat.js';
import { evaluateEmbeddings } from '../../dist/llm/embeddings.js';
import { LanguageModel } from '../../dist/llm/model.js';
import { abortOnceHeard } from '../fixtures/abortOnceHeard.js';
import { expected, pico } from '../fixtures/index.js';

const { before, after, question } = pico.expected.prompt;
const ids = (numbers: readonly number[]) => numbers as Token[];

let llama: Llama;
let model: LlamaModel;
let video: Float32Tensor;

beforeAll(async () => {
  llama = await getLlama({ gpu: false, build: 'never', progressLogs: false, maxThreads: 1 });
  model = await llama.loadModel({ modelPath: pico.llm });
  video = await expected('video');
});
afterAll(() => model.dispose());

async function answerOf(sequence: LlamaContextSequence, prompt: readonly number[], count: number): Promise<number[]> {
  const answer: number[] = [];
  for await (const token of sequence.evaluate(ids(prompt), { temperature: 0 })) if (answer.push(token) === count) break;
  return answer;
}

async function prepared(sequence: LlamaContextSequence, embeddings = video): Promise<LlamaContextSequence> {
  await sequence.evaluateWithoutGeneratingNewTokens(ids(before));
  await evaluateEmbeddings(sequence, embeddings);
  return sequence;
}

describe('evaluateEmbeddings()', () => {
  test("puts a video into anyone's sequence, which goes on as usual", async () => {
    const context = await model.createContext({ contextSize: 256 });
    const sequence = await prepared(context.getSequence());
    expect(sequence.nextTokenIndex).toBe(before.length + 29);
    expect(sequence.contextTokens).toHaveLength(before.length + 29);
    expect(await answerOf(sequence, after, 16)).toEqual(pico.expected.greedy_linear);
    await context.dispose();
  });

  test('keeps the sequences of one context apart, also when they evaluate at once', async () => {
    const context = await model.createContext({ contextSize: 256, sequences: 2 });
    const [first, second] = await Promise.all([
      prepared(context.getSequence()),
      prepared(context.getSequence(), await expected('video_mlp')),
    ]);
    const answers = await Promise.all([answerOf(first, after, 16), answerOf(second, after, 16)]);
    expect(answers).toEqual([pico.expected.greedy_linear, pico.expected.greedy_mlp]);
    await context.dispose();
  });

  test('gives the same answer in batches smaller than the video', async () => {
    const context = await model.createContext({ contextSize: 256, batchSize: 8 });
    const sequence = await prepared(context.getSequence());
    expect(await answerOf(sequence, after, 16)).toEqual(pico.expected.greedy_linear);
    await context.dispose();
  });

  test('takes float16 embeddings', async () => {
    const half = { type: 'float16', data: Uint16Array.from(video.data, numberToHalf), dims: video.dims } as const;
    const context = await model.createContext({ contextSize: 256 });
    const sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(ids(before));
    await evaluateEmbeddings(sequence, half);
    // The reference's margins are above 0.1, far more than half-precision rounding moves a logit.
    expect(await answerOf(sequence, after, 16)).toEqual(pico.expected.greedy_linear);
    await context.dispose();
  });

  test('lets the text behind the video be erased and asked anew', async () => {
    const context = await model.createContext({ contextSize: 256 });
    const sequence = await prepared(context.getSequence());
    const start = sequence.nextTokenIndex;
    await answerOf(sequence, after, 5);
    await sequence.eraseContextTokenRanges([{ start, end: sequence.nextTokenIndex }]);
    expect(await answerOf(sequence, after, 16)).toEqual(pico.expected.greedy_linear);
    await context.dispose();
  });

  test("answers a chat's later turn as if the whole conversation were evaluated at once", async () => {
    const context = await model.createContext({ contextSize: 512 });
    const sequence = await prepared(context.getSequence());
    const conversation = [
      ...after,
      ...pico.expected.greedy_linear,
      model.tokens.eos!,
      ...model.tokenize('USER: and then? ASSISTANT:'),
    ];
    const wanted = await answerOf(sequence, conversation, 6);
    const own = await LanguageModel.load({ path: pico.llm, device: 'cpu', threads: 1 });
    const chat = await VideoChat.create(own, video);
    await chat.ask(question, { temperature: 0, maxTokens: 16 });
    await chat.ask('and then?', { temperature: 0, maxTokens: 6 });
    expect(chat.lastAnswer?.tokenIds).toEqual(wanted);
    await own.dispose();
    await context.dispose();
  });

  test('leaves the sequence as it was when it is aborted', async () => {
    const context = await model.createContext({ contextSize: 1024, batchSize: 16 });
    const sequence = context.getSequence();
    await sequence.evaluateWithoutGeneratingNewTokens(ids(before));
    const long: Float32Tensor = { type: 'float32', data: new Float32Array(900 * 64).fill(0.1), dims: [900, 64] };
    const signal = abortOnceHeard(new Error('stop'));
    await expect(evaluateEmbeddings(sequence, long, { signal })).rejects.toThrow('stop');
    expect(sequence.nextTokenIndex).toBe(before.length);
    await evaluateEmbeddings(sequence, video);
    expect(await answerOf(sequence, after, 16)).toEqual(pico.expected.greedy_linear);
    await context.dispose();
  });

  test.each([
    [
      'another width',
      { type: 'float32', data: new Float32Array(6), dims: [2, 3] },
      'ERR_LONGVLM_MISMATCH',
      /3 wide.* 64/,
    ],
    [
      'infinity',
      { type: 'float32', data: new Float32Array(3 * 64).fill(Infinity, 70), dims: [3, 64] },
      'ERR_LONGVLM_NOT_FINITE',
      /embeddings holds Infinity at \[1, 6\]/,
    ],
    [
      'more embeddings than there is room for',
      { type: 'float32', data: new Float32Array(300 * 64), dims: [300, 64] },
      'ERR_LONGVLM_CONTEXT_FULL',
      /300 embeddings do not fit into the 255 free places/,
    ],
  ] as const)('refuses %s', async (_, tensor, code, message) => {
    const context = await model.createContext({ contextSize: 256 });
    await expect(evaluateEmbeddings(context.getSequence(), tensor)).rejects.toMatchObject({
      name: 'LongVLMError',
      code,
      message: expect.stringMatching(message),
    });
    await context.dispose();
  });

  test.each([[undefined], [{}], ['sequence']])('refuses %o for a sequence', async (value) => {
    await expect(evaluateEmbeddings(value as never, video)).rejects.toMatchObject({
      name: 'TypeError',
      message: expect.stringContaining('LlamaContextSequence of node-llama-cpp for sequence'),
    });
  });

  test('refuses a context that is not of node-llama-cpp without touching its memory', async () => {
    const foreign = {
      _sequenceId: 0,
      _nextTokenIndex: 0,
      _contextTokens: [],
      _lock: {},
      _abortTokenPredictor: async () => {},
      contextSize: 512,
      model: { embeddingVectorSize: 64, tokens: { bos: 1 } },
      _context: {
        _ctx: { getContextSize: () => 512 },
        _backendContextDisposeGuard: { createPreventDisposalHandle: () => ({ dispose: () => {} }) },
      },
    };
    await expect(evaluateEmbeddings(foreign as never, video)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_LLM',
      message: expect.stringContaining('not a native object'),
    });
  });
});
