// Many questions about videos of all kinds at once.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type AskItem, type AskResult, askMany, LongVLM, type VideoFeatures } from '../../dist/index.js';
import { pico, picoOptions } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

let vlm: LongVLM;
let features: VideoFeatures;
const { question } = pico.expected.prompt;
const options = { temperature: 0, maxTokens: 4 } as const;
beforeAll(async () => {
  vlm = await LongVLM.load(picoOptions);
  features = await vlm.encode(pico.video);
});
afterAll(() => vlm.dispose());

async function all(results: AsyncIterable<AskResult>): Promise<AskResult[]> {
  const found: AskResult[] = [];
  for await (const result of results) found.push(result);
  return found.sort((a, b) => a.index - b.index);
}

test('videos of every kind are answered as ask() answers, each encoded once', async () => {
  const bytes = readFileSync(pico.video);
  const encode = vi.spyOn(vlm as unknown as { encodeFor(): Promise<VideoFeatures> }, 'encodeFor');
  const clone = structuredClone(features) as VideoFeatures;
  const videos = [pico.video, bytes, features, clone, bytes, pico.video, features];
  const items = videos.map((video, i) => ({ video, question: i % 2 ? question : 'And then?' }));
  const progress: number[] = [];
  const given = { options, parallel: 3, onProgress: ({ done }: { done: number }) => progress.push(done) };
  const results = await all(askMany(vlm, items, given));
  expect(encode).toHaveBeenCalledTimes(2);
  encode.mockRestore();
  const asked = new Map<string, string>();
  for (const text of [question, 'And then?']) asked.set(text, (await vlm.ask(features, text, options)).text);
  expect(results.map((each) => ('answer' in each ? each.answer : each.error))).toEqual(
    items.map((item) => asked.get(item.question)),
  );
  expect(results.map(({ id }) => id)).toEqual(['0', '1', '2', '3', '4', '5', '6']);
  expect(progress).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});

test('failures are results, and options of an item stand in place of the common ones', async () => {
  const missing = join(await temporaryFolder(), 'missing.mp4');
  async function* items(): AsyncGenerator<AskItem> {
    yield { id: 'lost', video: missing, question };
    yield { id: 'no video', video: Buffer.from('no video'), question };
    yield { id: 'short', video: features, question, options: { maxTokens: 1 } };
  }
  const [lost, none, short] = await all(askMany(vlm, items(), { options }));
  expect(lost).toMatchObject({ id: 'lost', index: 0, error: { code: 'ERR_LONGVLM_FILE' } });
  expect(none).toMatchObject({ id: 'no video', error: { code: 'ERR_LONGVLM_VIDEO' } });
  expect(short).toMatchObject({ id: 'short', usage: { answerTokens: 1 } });
});

test('an abort ends all of it with its reason, and a loop that is left frees the models', async () => {
  const ending = new AbortController();
  const items = [1, 2, 3, 4].map(() => ({ video: features, question }));
  const results = askMany(vlm, items, { options, signal: ending.signal });
  await results.next();
  ending.abort(new Error('enough'));
  await expect(all(results)).rejects.toThrow('enough');
  for await (const _ of askMany(vlm, items, { options })) break;
  expect((await vlm.ask(features, question, options)).tokenIds.length).toBeGreaterThan(0);
});

test.each<[string, unknown, unknown, RegExp]>([
  ['no model', {}, {}, /Expected LongVLM for vlm/],
  ['no video', undefined, { question }, /video or VideoFeatures for items\[0\]\.video but received undefined/],
  ['no question', undefined, { video: 'a.mp4', question: '' }, /items\[0\]\.question/],
  ['a wrong option', undefined, { video: 'a.mp4', question, options: { maxTokens: 0 } }, /items\[0\]\.options/],
])('%s is refused before anything is done', async (_, model, item, message) => {
  await expect(all(askMany((model ?? vlm) as LongVLM, [item as AskItem]))).rejects.toThrow(message);
});
