import { copyFileSync, existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { float32Tensor } from '../../dist/base/tensor.js';
import {
  type Dataset,
  type EvaluateOptions,
  type EvaluationProgress,
  evaluate,
  LongVLM,
  readDataset,
  VideoFeatures,
} from '../../dist/index.js';
import { pico, picoOptions } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

const { question } = pico.expected.prompt;
const short = { maxTokens: 6 };

let folder: string;
let vlm: LongVLM;
let features: VideoFeatures;
/** Two videos in turn; three questions are expected to be answered as they are. */
let dataset: Dataset;

const inFolder = (name: string) => path.join(folder, name);
const ask = async (text: string, options = {}) =>
  (await vlm.ask(features, text, { ...short, temperature: 0, ...options })).text.trim();
const answersOf = ({ predictions }: Awaited<ReturnType<typeof evaluate>>) => predictions.map(({ answers }) => answers);

beforeAll(async () => {
  folder = await temporaryFolder();
  copyFileSync(pico.video, inFolder('one.mp4'));
  copyFileSync(pico.video, inFolder('two.mp4'));
  vlm = await LongVLM.load(picoOptions);
  features = await vlm.encode(pico.video);
  const lines = [
    { video: 'one.mp4', question, answer: await ask(question), kind: 'a' },
    { video: 'two.mp4', question: 'and then?', answer: 'never this', kind: 'b' },
    { video: 'one.mp4', question: 'why?', question2: 'why so?', answer: await ask('why?'), kind: 'b' },
    { video: 'two.mp4', question: 'and last?', answer: await ask('and last?'), kind: 'a' },
  ];
  writeFileSync(inFolder('questions.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  dataset = await readDataset(inFolder('questions.jsonl'));
});
afterAll(() => vlm.dispose());

describe('evaluate()', () => {
  test('asks every question as the first of a conversation, and scores by kind', async () => {
    const seen: EvaluationProgress[] = [];
    const result = await evaluate(vlm, dataset, { ...short, onProgress: (progress) => seen.push(progress) });
    expect(answersOf(result)).toEqual([
      [await ask(question)],
      [await ask('and then?')],
      [await ask('why?'), await ask('why so?')],
      [await ask('and last?')],
    ]);
    expect(result.predictions.map(({ entry }) => entry)).toEqual(dataset.entries);
    expect(await ask('why so?'), 'so that the second answer is wrong').not.toBe(await ask('why?'));
    expect(result.predictions.map(({ score }) => score)).toEqual([1, 0, 0.5, 1]);
    expect(result.kinds).toEqual([
      { kind: 'a', questions: 2, score: 1 },
      { kind: 'b', questions: 2, score: 0.25 },
    ]);
    expect(result.overall).toEqual({ questions: 4, score: 0.625 });
    const shape = { stage: 'evaluate', total: 4, unit: 'questions' };
    // Video by video: both about the first, then both about the second.
    expect(seen).toEqual([
      { ...shape, done: 0, score: 0 },
      { ...shape, done: 1, score: 1 },
      { ...shape, done: 2, score: 0.75 },
      { ...shape, done: 3, score: 0.5 },
      { ...shape, done: 4, score: 0.625 },
    ]);
  });

  test('asks with the options of chat() and ask()', async () => {
    const options = { part: 'global', template: 'vicuna_v1_1', maxTokens: 3 } as const;
    const [[answer]] = answersOf(await evaluate(vlm, dataset, options)) as [[string]];
    expect(answer).toBe(await ask(question, options));
    expect(answer).not.toBe(await ask(question, { maxTokens: 3 }));
    const hot = { ...short, temperature: 5, seed: 7 };
    const [[varied]] = answersOf(await evaluate(vlm, dataset, hot)) as [[string]];
    expect(varied).toBe(await ask(question, hot));
  });

  test('finds a question that does not fit before anything is encoded', async () => {
    const entries = [...dataset.entries, { ...dataset.entries[1]!, question: 'word '.repeat(3000) }];
    const featuresFolder = inFolder('never');
    await expect(evaluate(vlm, { entries }, { featuresFolder })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_CONTEXT_FULL',
      message: expect.stringMatching(/^A question about .*two\.mp4: .*do not fit/),
    });
    expect(existsSync(featuresFolder)).toBe(false);
  });

  test.each([
    ['no model', [{}, undefined], 'TypeError', /LongVLM for vlm/],
    ['no data set', [undefined, {}], 'TypeError', /array for dataset\.entries/],
    [
      'an entry without a kind',
      [undefined, { entries: [{ video: 'v', question: 'q', answer: 'a' }] }],
      'TypeError',
      /kind/,
    ],
    ['no tokens', [undefined, undefined, { maxTokens: 0 }], 'RangeError', /positive integer for maxTokens/],
    ['another part', [undefined, undefined, { part: 'none' }], 'RangeError', /one of both, local, global for part/],
    ['a folder without a name', [undefined, undefined, { featuresFolder: '' }], 'RangeError', /for featuresFolder/],
    ['progress that is no function', [undefined, undefined, { onProgress: 5 }], 'TypeError', /function for onProgress/],
  ])('refuses %s', async (_, [model, data, options], name, message) => {
    await expect(evaluate((model ?? vlm) as never, (data ?? dataset) as never, options as never)).rejects.toMatchObject(
      { name, message: expect.stringMatching(message) },
    );
  });
});

describe('evaluate() with a folder of features', () => {
  const run = async (featuresFolder: string, model = vlm) =>
    answersOf(await evaluate(model, dataset, { ...short, featuresFolder }));

  test('keeps one file for one content, and reads it again', async () => {
    const kept = inFolder('kept/features');
    const answers = await run(kept);
    const names = readdirSync(kept);
    expect(names).toEqual([expect.stringMatching(/^[0-9a-f]{64}\.safetensors$/)]);
    const file = path.join(kept, names[0]!);
    expect((await VideoFeatures.load(file)).local).toEqual(features.local);
    // Other features under the same name show that they are what is used.
    const local = float32Tensor(new Float32Array(features.local.data.length).fill(1), features.local.dims);
    await new VideoFeatures({ ...features, local }).save(file);
    expect(await run(kept)).not.toEqual(answers);
    expect(readdirSync(kept)).toEqual(names);
  });

  test.each<[string, (file: string) => void | Promise<void>]>([
    ['a damaged file', (file) => truncateSync(file, 1000)],
    ['something else', (file) => writeFileSync(file, 'notes')],
    ['features of another tower', (file) => new VideoFeatures({ ...features, tower: 'other' }).save(file)],
    [
      'features of another sampling',
      (file) => new VideoFeatures({ ...features, sampling: { ...features.sampling, resize: 'pad' } }).save(file),
    ],
  ])('makes %s again', async (name, spoil) => {
    const kept = inFolder(name.replaceAll(' ', '-'));
    const answers = await run(kept);
    const file = path.join(kept, readdirSync(kept)[0]!);
    await spoil(file);
    expect(await run(kept)).toEqual(answers);
    expect(await VideoFeatures.load(file)).toMatchObject({ tower: vlm.tower, sampling: vlm.sampling });
  });

  test('keeps those of another sampling apart', async () => {
    const kept = inFolder('both');
    const pooling = await LongVLM.load({ ...picoOptions, reduction: 'pool' });
    try {
      await run(kept);
      await run(kept, pooling);
      const loaded = await Promise.all(readdirSync(kept).map((name) => VideoFeatures.load(path.join(kept, name))));
      expect(loaded.map(({ sampling }) => sampling.reduction).sort()).toEqual(['merge', 'pool']);
    } finally {
      await pooling.dispose();
    }
  });
});

describe('evaluate() with a file to resume from', () => {
  const encodedOnce = () => ({ ...short, featuresFolder: inFolder('resumed') });

  /** Runs until `count` answers are there, then aborts. */
  async function interrupted(resume: string, count: number): Promise<void> {
    const controller = new AbortController();
    const reason = new Error('enough');
    const running = evaluate(vlm, dataset, {
      ...encodedOnce(),
      resume,
      signal: controller.signal,
      onProgress: ({ done }) => {
        if (done === count) controller.abort(reason);
      },
    });
    await expect(running).rejects.toBe(reason);
  }

  test('goes on where an earlier run was cut, and finds the same', async () => {
    const whole = await evaluate(vlm, dataset, encodedOnce());
    for (const count of [0, 1, 2, 3]) {
      const resume = inFolder(`cut-${count}.unfinished.jsonl`);
      await interrupted(resume, count);
      expect(readFileSync(resume, 'utf8').trimEnd().split('\n')).toHaveLength(1 + count);
      const seen: number[] = [];
      const options: EvaluateOptions = { ...encodedOnce(), resume, onProgress: ({ done }) => seen.push(done) };
      expect(await evaluate(vlm, dataset, options)).toEqual(whole);
      expect(seen).toEqual([0, 1, 2, 3, 4].slice(count));
      // All is answered now: nothing is asked any more.
      seen.length = 0;
      expect(await evaluate(vlm, dataset, options)).toEqual(whole);
      expect(seen).toEqual([4]);
    }
  });

  test('takes the answers that it finds', async () => {
    const resume = inFolder('told.unfinished.jsonl');
    await interrupted(resume, 1);
    const text = readFileSync(resume, 'utf8');
    writeFileSync(resume, text.replace(/"answers":\[.*\]/, '"answers":["told before"]'));
    const result = await evaluate(vlm, dataset, { ...encodedOnce(), resume });
    expect(result.predictions[0]).toMatchObject({ answers: ['told before'], score: 0 });
  });

  test('is aborted before and while it encodes, and leaves no answer', async () => {
    const reason = new Error('no');
    await expect(evaluate(vlm, dataset, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const { signal } = controller;
    const encode = vlm.encode.bind(vlm);
    const onProgress = ({ stage }: { stage: string }) => stage === 'encode' && controller.abort(reason);
    const encoding = vi
      .spyOn(vlm, 'encode')
      .mockImplementation((file, options) => encode(file, { ...options, onProgress }));
    try {
      await expect(evaluate(vlm, dataset, { ...short, featuresFolder: inFolder('aborted'), signal })).rejects.toBe(
        reason,
      );
    } finally {
      encoding.mockRestore();
    }
    expect(readdirSync(inFolder('aborted'))).toEqual([]);
  });

  test('refuses to go on with another data set, model or settings', async () => {
    const resume = inFolder('other.unfinished.jsonl');
    await interrupted(resume, 1);
    const refused = (what: RegExp) => ({ code: 'ERR_LONGVLM_MISMATCH', message: expect.stringMatching(what) });
    const fewer = { entries: dataset.entries.slice(1) };
    await expect(evaluate(vlm, fewer, { ...short, resume })).rejects.toMatchObject(refused(/with another data set\./));
    for (const change of [{ maxTokens: 7 }, { temperature: 1 }, { part: 'local' }, { system: '' }] as const)
      await expect(evaluate(vlm, dataset, { ...short, ...change, resume })).rejects.toMatchObject(
        refused(/with other settings\. Delete it/),
      );
    const sampled = await LongVLM.load({ ...picoOptions, tokensPerSegment: 5 });
    const projector = inFolder('projector.safetensors');
    const bytes = readFileSync(pico.projector);
    bytes[bytes.length - 3]! ^= 1;
    writeFileSync(projector, bytes);
    const trained = await LongVLM.load({ ...picoOptions, projector });
    try {
      const options = { ...short, resume };
      await expect(evaluate(sampled, dataset, options)).rejects.toMatchObject(refused(/with other settings\./));
      await expect(evaluate(trained, dataset, options)).rejects.toMatchObject(refused(/with another model\./));
      expect(readFileSync(resume, 'utf8').trimEnd().split('\n')).toHaveLength(2);
    } finally {
      await Promise.all([sampled.dispose(), trained.dispose()]);
    }
  });
});
