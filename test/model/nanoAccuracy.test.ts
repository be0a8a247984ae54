import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openSafetensors, readFloatTensor } from '../../dist/files/safetensors.js';
import { type EvaluationResult, evaluate, FeaturesCache, LongVLM, readDataset } from '../../dist/index.js';
import { cosine } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

const world = (name: string) => fileURLToPath(new URL(`../fixtures/world/${name}`, import.meta.url));
const quickVideos = 8;

let vlm: LongVLM;
let cache: FeaturesCache;
beforeAll(async () => {
  // Each video is encoded once by each tower, as far as it is looked at again.
  cache = await FeaturesCache.open(await temporaryFolder());
  vlm = await LongVLM.load({ device: 'cpu', threads: 1, cache });
});
afterAll(() => vlm.dispose());

/** The first videos of a data set with all their questions. */
async function firstVideos(name: string, videos: number) {
  const dataset = await readDataset(world(name));
  const first = [...new Set(dataset.entries.map(({ video }) => video))].slice(0, videos);
  return { ...dataset, entries: dataset.entries.filter(({ video }) => first.includes(video)) };
}

/** The first videos' questions, asked once. */
let asked: Promise<EvaluationResult> | undefined;
function askedOfFirst(): Promise<EvaluationResult> {
  asked ??= firstVideos('questions.jsonl', quickVideos).then((dataset) => evaluate(vlm, dataset));
  return asked;
}

describe('nano', () => {
  test('answers about videos that training never saw', async () => {
    const { overall } = await askedOfFirst();
    expect(overall.questions).toBeGreaterThanOrEqual(60);
    expect(overall.score).toBeGreaterThanOrEqual(0.92);
  });

  test('needs the local tokens for what comes first, last, before and after', async () => {
    const dataset = await firstVideos('questions.jsonl', 30);
    const ordered = ['first', 'last', 'before', 'after'];
    const entries = dataset.entries.filter(({ kind }) => ordered.includes(kind)).slice(0, 40);
    const { overall } = await evaluate(vlm, { ...dataset, entries }, { part: 'global' });
    expect(overall.score).toBeLessThanOrEqual(0.3);
  });

  test('answers as well with a tower in eight bits, from nearly the same features', async () => {
    const rounded = await LongVLM.load({ device: 'cpu', threads: 1, visionPrecision: 'int8', cache });
    try {
      const dataset = await firstVideos('questions.jsonl', quickVideos);
      const [whole, eightBits] = [await askedOfFirst(), await evaluate(rounded, dataset)];
      expect(eightBits.overall.score).toBeGreaterThanOrEqual(whole.overall.score - 0.02);
      const similar = [];
      for (const video of new Set(dataset.entries.map(({ video }) => video))) {
        const [due, found] = [await vlm.encode(video), await rounded.encode(video)];
        expect(found.tower).not.toBe(due.tower);
        similar.push(cosine(found.local.data, due.local.data));
      }
      // A rounding that turns one match into another changes a token as a whole.
      expect(Math.min(...similar)).toBeGreaterThan(0.97);
      expect(similar.reduce((sum, value) => sum + value) / similar.length).toBeGreaterThan(0.99);
    } finally {
      await rounded.dispose();
    }
  });

  test('has the features that the training code computes', async () => {
    const expected = await openSafetensors(world('expected.safetensors'));
    const features = await vlm.encode(world(expected.metadata.video!));
    for (const name of ['local', 'global'] as const) {
      const due = (await readFloatTensor(expected.tensors.get(name)!)).data as Float32Array;
      const found = features[name].data;
      expect(found.length).toBe(due.length);
      const scale = due.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const error = due.reduce((most, value, i) => Math.max(most, Math.abs(value - found[i]!)), 0);
      expect(error / scale).toBeLessThan(1e-3);
    }
  });
});

test('the demo answers right', async () => {
  const demo = fileURLToPath(new URL('../../scripts/demo.mjs', import.meta.url));
  const child = spawn(process.execPath, [demo, '--device', 'cpu', '--threads', '1']);
  let answers = '';
  child.stdout.on('data', (text) => {
    answers += text;
  });
  expect(await new Promise((resolve) => child.on('close', resolve))).toBe(0);
  expect(answers.trim().split('\n')).toEqual([
    'A white moon.',
    'On the left.',
    'First two pink circles, then two orange rings, then two red hearts, then a white moon, then a yellow square, then three pink crosses, and last a white circle.',
  ]);
});
