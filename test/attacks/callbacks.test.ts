// Callbacks that fail, answers that nobody reads, and calls at the wrong time.
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  describeModels,
  evaluate,
  LanguageModel,
  LongVLM,
  loadVideoEncoder,
  openVideo,
  Projector,
  readSegments,
  VideoChat,
  VideoEncoder,
  type VideoFeatures,
  VisionEncoder,
} from '../../dist/index.js';
import { expected, pico, picoOptions } from '../fixtures/index.js';

const unhandled: unknown[] = [];
const onUnhandled = (error: unknown) => unhandled.push(error);
const failure = new Error('the callback failed');
const greedy = { temperature: 0, maxTokens: 4 };
let vlm: LongVLM;
let features: VideoFeatures;

beforeAll(async () => {
  process.on('unhandledRejection', onUnhandled);
  vlm = await LongVLM.load({ ...picoOptions, cache: false });
  features = await vlm.encode(pico.video);
});
afterEach(async () => {
  await wait(20);
  expect(unhandled.splice(0)).toEqual([]);
});
afterAll(async () => {
  await vlm.dispose();
  process.off('unhandledRejection', onUnhandled);
});

const geometry = { resize: 'squash', size: 32 } as const;
async function all(segments: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of segments);
}

const ways = {
  'throws at once': () => {
    throw failure;
  },
  'rejects later': async () => {
    await wait(1);
    throw failure;
  },
};

describe.each(Object.entries(ways))("a callback that %s: its error is the call's", (_, callback) => {
  const options = { onProgress: callback, cache: false } as const;
  const calls: Record<string, () => Promise<unknown>> = {
    'LongVLM.load()': () => LongVLM.load({ ...picoOptions, ...options }),
    'describeModels()': () => describeModels({ ...picoOptions, ...options }),
    'LanguageModel.load()': () => LanguageModel.load({ path: pico.llm, device: 'cpu', threads: 1, ...options }),
    'encode()': () => vlm.encode(pico.video, options),
    'chat()': () => vlm.chat(pico.video, options),
    'ask() onProgress': () => vlm.ask(pico.video, 'what?', { ...greedy, ...options }),
    'ask() onText': () => vlm.ask(features, 'what?', { ...greedy, onText: callback }),
    'openVideo()': () => openVideo(new Uint8Array(9), options),
    'evaluate()': () =>
      evaluate(
        vlm,
        { entries: [{ video: pico.video, question: 'q', answer: 'a', kind: 'k' }] } as never,
        options as never,
      ),
  };

  test.each(Object.entries(calls))('%s', async (_, call) => {
    await expect(call()).rejects.toBe(failure);
  });
});

describe('what else ends with the error of a callback', () => {
  test.each(Object.entries(ways))('readSegments(), whose callback %s', async (_, callback) => {
    const options = { frames: 2, segmentFrames: 2, geometry };
    await expect(all(readSegments(pico.video, { ...options, onPlan: callback }))).rejects.toBe(failure);
    await expect(all(readSegments(pico.video, { ...options, onProgress: callback }))).rejects.toBe(failure);
  });

  test('a call waits for callbacks that have not ended', async () => {
    let ended = 0;
    const onProgress = async () => {
      await wait(5);
      ended++;
    };
    const { length } = await vlm.encode(pico.video, { onProgress, cache: false }).then(({ source }) => source.warnings);
    expect([length, ended > 0]).toEqual([0, true]);
  });
});

describe('an answer that nobody reads on', () => {
  test('does not keep later questions waiting', async () => {
    const chat = await vlm.chat(features);
    const answered = await chat.ask('what?', greedy);
    await chat.reset();
    const left = chat.stream('what?', greedy);
    const first = await left.next();
    expect(first.done).toBe(false);
    // Never read on, and never returned from.
    expect(typeof (await chat.ask('and then?', greedy))).toBe('string');
    const used = chat.usedTokens;
    // What it would have said is in the conversation, and there for its reader.
    let text = first.value as string;
    for await (const piece of left) text += piece;
    expect(text).toBe(answered);
    expect(chat.usedTokens).toBe(used);
    await chat.reset();
    await chat.dispose();
  });

  test('does not keep reset() waiting', async () => {
    const chat = await vlm.chat(features);
    await chat.stream('what?', greedy).next();
    await chat.reset();
    await chat.dispose();
  });

  test('is disposed with its chat', async () => {
    const chat = await vlm.chat(features);
    const left = chat.stream('what?', greedy);
    await left.next();
    await chat.dispose();
    await expect(left.next()).rejects.toMatchObject({ code: 'ERR_LONGVLM_DISPOSED' });
  });
});

describe('calls at the wrong time, and of the wrong kind', () => {
  test('chat() while dispose() runs', async () => {
    const own = await LongVLM.load({ ...picoOptions, cache: false });
    const calls = [own.chat(features), own.ask(features, 'what?'), own.chat(pico.video)];
    const disposed = own.dispose();
    // All at once: one may be refused before another.
    await Promise.all(calls.map((call) => expect(call).rejects.toMatchObject({ code: 'ERR_LONGVLM_DISPOSED' })));
    await disposed;
  });

  test('a chat is made while its model is disposed', async () => {
    const model = await LanguageModel.load({ path: pico.llm, device: 'cpu', threads: 1, lazy: true });
    const made = VideoChat.create(model, await expected('video'));
    await Promise.all([
      expect(made).rejects.toMatchObject({ code: 'ERR_LONGVLM_DISPOSED' }),
      new Promise((resolve) => setImmediate(resolve)).then(() => model.dispose()),
    ]);
  });

  const wrong: Record<string, (value: never) => unknown> = {
    'chat()': (value) => vlm.chat(features, value),
    'ask()': (value) => vlm.ask(features, 'what?', value),
    'project()': (value) => vlm.project(features, value),
    'checkQuestion()': (value) => vlm.checkQuestion('what?', value),
    'requiredContextSize()': (value) => vlm.requiredContextSize(features, 'what?', value),
    'LongVLM.load()': (value) => LongVLM.load(value),
    'LanguageModel.load()': (value) => LanguageModel.load(value),
    'loadVideoEncoder()': (value) => loadVideoEncoder(value),
    'VideoEncoder.create()': (value) => VideoEncoder.create(value),
    'VisionEncoder.create()': (value) => VisionEncoder.create(value),
    'Projector.load()': (value) => Projector.load(pico.projector, value),
    'encode()': (value) => vlm.encode(pico.video, value),
  };
  test.each(Object.entries(wrong))('%s with null as its options', async (_, call) => {
    await expect((async () => call(null as never))()).rejects.toThrow(
      new TypeError('Expected object for options but received null'),
    );
  });

  test('options are read once', async () => {
    const reads: Record<string, number> = {};
    const once = <T extends object>(values: T): T =>
      new Proxy(values, {
        get(target, name) {
          reads[String(name)] = (reads[String(name)] ?? 0) + 1;
          return Reflect.get(target, name);
        },
      });
    const chat = await vlm.chat(
      features,
      once({ system: 'x', temperature: 0, contextSize: 500, template: 'vicuna_v1_1' }),
    );
    expect(reads).toMatchObject({ system: 1, temperature: 1, contextSize: 1, template: 1 });
    await chat.ask('what?', once({ maxTokens: 2, topK: 3, stop: ['x'] }));
    expect(reads).toMatchObject({ maxTokens: 1, topK: 1, stop: 1 });
    await chat.dispose();
  });
});

test('options may be getters of a class', async () => {
  let calls = 0;
  class Options {
    get onProgress() {
      return () => void calls++;
    }
    get signal() {
      return undefined;
    }
  }
  const video = await openVideo(new Uint8Array(3), new Options() as object);
  await video.dispose();
  expect(calls).toBeGreaterThan(0);
});
