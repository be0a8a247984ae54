// Objects of another installed copy of the package, and worker threads that end on their own.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LongVLM, VideoFeatures } from '../../dist/index.js';
import { checkModel } from '../../dist/llm/model.js';
import { pico, picoOptions } from '../fixtures/index.js';

const at = (path: string) => new URL(`../../dist/${path}`, import.meta.url).href;

let vlm: LongVLM;
let features: VideoFeatures;
beforeAll(async () => {
  vlm = await LongVLM.load(picoOptions);
  features = await vlm.encode(pico.video);
});
afterAll(() => vlm.dispose());

describe('features of another copy', () => {
  let foreign: VideoFeatures;
  beforeAll(async () => {
    const copy = (await import(/* @vite-ignore */ `${at('encode/videoFeatures.js')}?copy`)) as {
      VideoFeatures: typeof VideoFeatures;
    };
    foreign = new copy.VideoFeatures({ ...features });
  });

  test('are taken as their own are', async () => {
    expect(foreign).not.toBeInstanceOf(VideoFeatures);
    expect(await vlm.project(foreign)).toEqual(await vlm.project(features));
    const { question } = pico.expected.prompt;
    const greedy = { temperature: 0, maxTokens: 4 };
    expect(vlm.requiredContextSize(foreign, question)).toBe(vlm.requiredContextSize(features, question));
    const { tokenIds } = await vlm.ask(features, question, greedy);
    expect(await vlm.ask(foreign, question, greedy)).toMatchObject({ tokenIds });
  });

  test('are checked anew', async () => {
    const damaged = Object.create(Object.getPrototypeOf(foreign), {
      ...Object.getOwnPropertyDescriptors(foreign),
      timestamps: { value: new Float32Array(1), enumerable: true },
    });
    await expect(vlm.project(damaged)).rejects.toThrow(/timestamps/);
  });
});

test('other objects of another copy are refused with what to do', () => {
  class FeaturesCache {}
  expect(() => checkModel(new (class LanguageModel {})())).toThrow(
    'Expected LanguageModel for model but received an instance of LanguageModel that this copy of longvlm did not make: have one copy (npm ls longvlm)',
  );
  expect(() => checkModel(new FeaturesCache())).toThrow(/received an instance of FeaturesCache$/);
});

// Worker.terminate() in the middle of an answer ends the process in node-llama-cpp's addon.
test('a worker thread that is told to ends in the middle of an answer', async () => {
  const source = `import { parentPort, workerData } from 'node:worker_threads';
    const { LongVLM } = await import(${JSON.stringify(at('index.js'))});
    const ending = new AbortController();
    const { signal } = ending;
    parentPort.once('message', () => ending.abort());
    const vlm = await LongVLM.load(workerData.options);
    try {
      const features = await vlm.encode(workerData.video, { signal });
      const chat = await vlm.chat(features, { signal });
      for (;;) {
        await chat.ask('What?', { signal, temperature: 0, maxTokens: 16, onText: () => parentPort.postMessage('text') });
        await chat.reset();
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      await vlm.dispose();
    }`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
  const worker = new Worker(url, { workerData: { options: picoOptions, video: pico.video } });
  await once(worker, 'message');
  const exit = once(worker, 'exit');
  worker.postMessage('end');
  expect(await exit).toEqual([0]);
});
