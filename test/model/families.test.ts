// Language models of each family, with a video between texts, against transformers on the same weights.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Llama, LlamaContextSequence, LlamaModel, Token } from 'node-llama-cpp';
import { getLlama } from 'node-llama-cpp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Float32Tensor } from '../../dist/base/tensor.js';
import { type EvaluateEmbeddingsOptions, evaluateEmbeddings } from '../../dist/llm/embeddings.js';
import { LanguageModel } from '../../dist/llm/model.js';
import { usedPlaces } from '../../dist/llm/places.js';
import { type Architecture, architectures, conversations, runsOf, tinyModel } from '../fixtures/llms/index.js';

let llama: Llama;
const models = new Map<Architecture, LlamaModel>();

beforeAll(async () => {
  llama = await getLlama({ gpu: false, build: 'never', progressLogs: false, maxThreads: 1 });
  for (const architecture of architectures)
    models.set(architecture, await llama.loadModel({ modelPath: tinyModel(architecture) }));
});
afterAll(() => Promise.all([...models.values()].map((model) => model.dispose())));

const ids = (numbers: readonly number[]) => numbers as Token[];

async function answerOf(sequence: LlamaContextSequence, prompt: readonly number[], count = 16): Promise<number[]> {
  const answer: number[] = [];
  for await (const token of sequence.evaluate(ids(prompt), { temperature: 0 })) if (answer.push(token) === count) break;
  return answer;
}

/** How a family's runs are placed, and attend. */
type RunOptions = (run: number) => EvaluateEmbeddingsOptions;

async function evaluateVideo(
  sequence: LlamaContextSequence,
  architecture: Architecture,
  runs: readonly Float32Tensor[],
  optionsOf: RunOptions,
): Promise<void> {
  for (const [run, embeddings] of runs.entries()) {
    await sequence.evaluateWithoutGeneratingNewTokens(ids(conversations[architecture].before[run]!));
    await evaluateEmbeddings(sequence, embeddings, optionsOf(run));
  }
}

/** The first answer, and the one after it. */
async function answersOf(sequence: LlamaContextSequence, architecture: Architecture): Promise<number[][]> {
  const [question, later] = conversations[architecture].turns as [number[], number[]];
  const first = await answerOf(sequence, question);
  return [first, await answerOf(sequence, [...first.slice(-1), ...later])];
}

async function converse(
  architecture: Architecture,
  runs: readonly Float32Tensor[],
  optionsOf: RunOptions,
  batchSize = 512,
): Promise<number[][]> {
  const context = await models.get(architecture)!.createContext({ contextSize: 512, batchSize });
  try {
    const sequence = context.getSequence();
    await evaluateVideo(sequence, architecture, runs, optionsOf);
    return await answersOf(sequence, architecture);
  } finally {
    await context.dispose();
  }
}

const optionsOf: Record<Architecture, RunOptions> = {
  llama: () => ({}),
  qwen2: () => ({}),
  qwen3: () => ({}),
  qwen3vl: () => placed(),
  qwen2vl: () => ({ positions: Int32Array.from(conversations.qwen2vl.places!.flat()) }),
  gemma3: () => ({ attention: 'full' }),
};

/** The places of a frame's tokens, or of some of them. */
function placed(kept?: readonly number[]): EvaluateEmbeddingsOptions {
  const [height, width] = conversations.qwen3vl.grid!;
  const places = kept ?? Array.from({ length: height * width }, (_, place) => place);
  const positions = Int32Array.from(places.flatMap((place) => [0, Math.floor(place / width), place % width]));
  return { positions, span: Math.max(height, width) };
}

const pick = ({ data, dims: [, width] }: Float32Tensor, kept: readonly number[]): Float32Tensor => ({
  type: 'float32',
  data: Float32Array.from(kept.flatMap((place) => [...data.subarray(place * width!, (place + 1) * width!)])),
  dims: [kept.length, width!],
});

describe('a video between texts gives the answers of transformers, also in a second turn', () => {
  test.each(architectures)('%s', async (architecture) => {
    const answers = await converse(architecture, await runsOf(architecture), optionsOf[architecture]);
    expect(answers).toEqual(conversations[architecture].answers.whole);
  });

  test('qwen3vl, where tokens were picked, which keep their places', async () => {
    const { kept, answers } = conversations.qwen3vl;
    const runs = (await runsOf('qwen3vl')).map((run, index) => pick(run, kept![index]!));
    expect(await converse('qwen3vl', runs, (run) => placed(kept![run]!))).toEqual(answers.picked);
  });

  test('qwen3vl, in batches smaller than a run', async () => {
    const answers = await converse('qwen3vl', await runsOf('qwen3vl'), optionsOf.qwen3vl, 5);
    expect(answers).toEqual(conversations.qwen3vl.answers.whole);
  });
});

async function withVideo<T>(
  use: (sequence: LlamaContextSequence) => Promise<T>,
  contextSize = 512,
  runs?: readonly Float32Tensor[],
): Promise<T> {
  const context = await models.get('qwen3vl')!.createContext({ contextSize });
  try {
    const sequence = context.getSequence();
    await evaluateVideo(sequence, 'qwen3vl', runs ?? (await runsOf('qwen3vl')), optionsOf.qwen3vl);
    return await use(sequence);
  } finally {
    await context.dispose();
  }
}

describe('a sequence with places in time, height and width', () => {
  const { before, answers, grid } = conversations.qwen3vl;
  const texts = before.flat().length;
  const span = Math.max(...grid!) * before.length;
  const cells = grid![0] * grid![1] * before.length;

  test('is counted in positions, and fills the context by cells', async () => {
    await withVideo(async (sequence) => {
      expect(sequence.nextTokenIndex).toBe(texts + span);
      expect(sequence.contextTokens).toHaveLength(texts + span);
      expect(usedPlaces(sequence)).toBe(texts + cells);
      const room = sequence.contextSize - 1 - texts - cells;
      const rows = { type: 'float32', data: new Float32Array((room + 1) * 288), dims: [room + 1, 288] } as const;
      const positions = Int32Array.from({ length: 3 * (room + 1) }, (_, at) => (at % 3 === 2 ? Math.floor(at / 3) : 0));
      await expect(evaluateEmbeddings(sequence, rows, { positions })).rejects.toMatchObject({
        code: 'ERR_LONGVLM_CONTEXT_FULL',
        message: expect.stringContaining(`${room + 1} embeddings do not fit into the ${room} free places`),
      });
      await sequence.clearHistory();
      expect(usedPlaces(sequence)).toBe(0);
    });
  });

  test('refuses what llama.cpp ends the process for: to erase in the middle, or to make room when it is full', async () => {
    await withVideo(async (sequence) => {
      const { nextTokenIndex: length } = sequence;
      const refused = { code: 'ERR_LONGVLM_UNSUPPORTED', message: expect.stringContaining('only the end') };
      for (const ranges of [[{ start: 2, end: 5 }], [{ start: length - 9, end: length - 1 }], [{ start: 0, end: 1 }]])
        await expect(sequence.eraseContextTokenRanges(ranges)).rejects.toMatchObject(refused);
      expect(sequence.nextTokenIndex).toBe(length);
      const end = [
        { start: length - 4, end: length - 2 },
        { start: length - 2, end: length + 2 },
      ];
      await sequence.eraseContextTokenRanges(end);
      expect(sequence.nextTokenIndex).toBe(length - 4);
    });
    const context = await models.get('qwen3vl')!.createContext({ contextSize: 64 });
    const sequence = context.getSequence();
    const rows = { type: 'float32', data: new Float32Array(288).fill(0.01), dims: [1, 288] } as const;
    await evaluateEmbeddings(sequence, rows, { positions: Int32Array.of(0, 0, 0), span: sequence.contextSize - 20 });
    const more = ids(new Array<number>(30).fill(40));
    await expect(sequence.evaluateWithoutGeneratingNewTokens(more)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_CONTEXT_FULL',
      message: expect.stringMatching(/filled the \d+ places .* Raise contextSize/),
    });
    await context.dispose();
  });

  test('answers the same when its end was erased', async () => {
    await withVideo(async (sequence) => {
      const start = sequence.nextTokenIndex;
      await answerOf(sequence, [40, 41, 42], 5);
      await sequence.eraseContextTokenRanges([{ start, end: sequence.nextTokenIndex }]);
      expect(await answersOf(sequence, 'qwen3vl')).toEqual(answers.whole);
    });
  });

  test('answers the same when its state was saved and loaded', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'longvlm-state-'));
    const file = join(folder, 'state');
    try {
      await withVideo((sequence) => sequence.saveStateToFile(file));
      const context = await models.get('qwen3vl')!.createContext({ contextSize: 512 });
      const sequence = context.getSequence();
      await sequence.loadStateFromFile(file, { acceptRisk: true });
      expect(await answersOf(sequence, 'qwen3vl')).toEqual(answers.whole);
      await context.dispose();
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe('evaluateEmbeddings() refuses', () => {
  const rows = (count: number, width: number) =>
    ({ type: 'float32', data: new Float32Array(count * width), dims: [count, width] }) as const;
  const from = (...values: number[]) => ({ positions: Int32Array.from(values) });

  test.each<[string, Architecture, Float32Tensor, object, { name: string; message: RegExp }]>([
    [
      'embeddings without the rows for later layers',
      'qwen3vl',
      rows(1, 96),
      {},
      { name: 'LongVLMError', message: /96 wide but the language model takes 288 \(96, and 2 rows of as many/ },
    ],
    [
      'places where the model has one position',
      'llama',
      rows(1, 96),
      from(0, 0, 0),
      { name: 'LongVLMError', message: /has one position a token\. Leave positions out/ },
    ],
    [
      'places of another number of tokens',
      'qwen3vl',
      rows(2, 288),
      from(0, 0, 0),
      { name: 'RangeError', message: /6 values, three for each of 2 embeddings, for positions but received 3/ },
    ],
    [
      'places that go back in time',
      'qwen3vl',
      rows(2, 288),
      from(1, 0, 0, 0, 1, 1),
      { name: 'RangeError', message: /a place after 1, 0, 0 for positions\[1\] but received '?0, 1, 1/ },
    ],
    [
      'places that go back in a row',
      'qwen3vl',
      rows(2, 288),
      from(0, 1, 2, 0, 1, 1),
      { name: 'RangeError', message: /a place after 0, 1, 2/ },
    ],
    [
      'places before the first',
      'qwen3vl',
      rows(1, 288),
      from(0, -1, 0),
      { name: 'RangeError', message: /places from 0 to/ },
    ],
    [
      'a span that ends before the last place',
      'qwen3vl',
      rows(1, 288),
      { ...from(0, 0, 3), span: 3 },
      { name: 'RangeError', message: /integer.*4.* for span but received 3/ },
    ],
    [
      'a span without places',
      'llama',
      rows(1, 96),
      { span: 3 },
      { name: 'RangeError', message: /positions beside it/ },
    ],
    [
      'places of another kind',
      'qwen3vl',
      rows(1, 288),
      { positions: [0, 0, 0] },
      { name: 'TypeError', message: /Int32Array for positions/ },
    ],
    [
      'an image that does not fit into a batch',
      'gemma3',
      rows(10, 96),
      { attention: 'full' },
      {
        name: 'LongVLMError',
        message: /10 embeddings that attend to each other do not fit into the context's batches of 9/,
      },
    ],
  ])('%s', async (_, architecture, embeddings, options, error) => {
    const context = await models.get(architecture)!.createContext({ contextSize: 256, batchSize: 8 });
    const sequence = context.getSequence();
    await expect(evaluateEmbeddings(sequence, embeddings, options)).rejects.toMatchObject({
      name: error.name,
      message: expect.stringMatching(error.message),
    });
    expect(sequence.nextTokenIndex).toBe(0);
    await context.dispose();
  });
});

test('a language model says what its input is', async () => {
  const load = (architecture: Architecture) =>
    LanguageModel.load({ path: tinyModel(architecture), device: 'cpu', threads: 1, lazy: true });
  const [plain, stacked] = await Promise.all([load('llama'), load('qwen3vl')]);
  expect(plain).toMatchObject({ width: 96, inputWidth: 96, axes: 1 });
  expect(stacked).toMatchObject({ width: 96, inputWidth: 288, axes: 3 });
  await Promise.all([plain.dispose(), stacked.dispose()]);
});
