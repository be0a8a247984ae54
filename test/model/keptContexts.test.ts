// Contexts that are kept for the next turn of a conversation, over HTTP with nano: answers are those of conversations that are
// evaluated from their beginning.
import { appendFileSync, chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FeaturesCache, LongVLM, type Service, startService, type VideoFeatures } from '../../dist/index.js';
import { LaneScheduler } from '../../dist/jobs/laneScheduler.js';
import { ffmpeg } from '../unit/video/videoFiles.js';

const world = fileURLToPath(new URL('../fixtures/world/', import.meta.url));
const bytesOf = (index: number) => readFileSync(path.join(world, `world-200000${index}.mp4`));
const urlOf = (index: number) => `data:video/mp4;base64,${bytesOf(index).toString('base64')}`;
const folder = mkdtempSync(path.join(tmpdir(), 'longvlm-contexts-'));
const wrapper = path.join(folder, 'ffmpeg');
const runs = path.join(folder, 'runs');

let vlm: LongVLM;
let service: Service;
let client: OpenAI;
beforeAll(async () => {
  appendFileSync(runs, '');
  writeFileSync(
    wrapper,
    `#!/bin/sh\ncase "$*" in *-version*) ;; *) echo run >> "${runs}" ;; esac\nexec "${ffmpeg.path}" "$@"\n`,
  );
  chmodSync(wrapper, 0o755);
  const cache = await FeaturesCache.open(path.join(folder, 'features'));
  vlm = await LongVLM.load({ threads: 1, gpu: 'off', cache });
  service = await startService(vlm, { port: 0, limits: { privateAddresses: true }, lanes: { fetch: 1, decode: 1 } });
  client = clientOf(service);
});
afterAll(async () => {
  await service.close();
  await vlm.dispose();
  rmSync(folder, { recursive: true });
});

const clientOf = ({ url }: Service) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
type Turn = { question: string; answer: string };
const messagesOf = (url: string, turns: readonly Turn[], question: string) =>
  [...turns.flatMap((turn) => [turn.question, turn.answer]), question].map((text, index) => ({
    role: index % 2 === 0 ? 'user' : 'assistant',
    content:
      index === 0
        ? [
            { type: 'video_url', video_url: { url } },
            { type: 'text', text },
          ]
        : text,
  })) as unknown as OpenAI.ChatCompletionMessageParam[];
// Few frames: it is the turns that count here.
const usual = { model: 'nano', temperature: 0, longvlm: { frames: 20 } };

async function ask(url: string, turns: readonly Turn[], question: string, more: object = {}) {
  const body = { ...usual, messages: messagesOf(url, turns, question), ...more };
  const { choices, usage } = await client.chat.completions.create(body);
  const { prompt_tokens, completion_tokens, prompt_tokens_details } = usage!;
  const text = choices[0]!.message.content!;
  return { text, tokens: [prompt_tokens, completion_tokens], cached: prompt_tokens_details!.cached_tokens! };
}

/** What a conversation that is evaluated from its beginning answers. */
async function evaluated(url: string, turns: readonly Turn[], question: string, more: object = {}) {
  const bytes = Buffer.from(url.slice(url.indexOf(',') + 1), 'base64');
  const chat = await vlm.chat(bytes, { sampling: { frames: 20 } });
  try {
    for (const turn of turns) await chat.addTurn(turn.question, turn.answer);
    const before = chat.usedTokens;
    const text = await chat.ask(question, { temperature: 0, ...more });
    const { promptTokens, tokenIds } = chat.lastAnswer!;
    return { text, tokens: [before + promptTokens, tokenIds.length] };
  } finally {
    await chat.dispose();
  }
}

/** How much goes on in a lane. */
async function running(lane: string): Promise<number> {
  const metrics = await (await fetch(`${service.url}/metrics`)).text();
  return Number(new RegExp(`^longvlm_running\\{lane="${lane}"\\} (\\d+)`, 'm').exec(metrics)?.[1]);
}

describe('the next turn of a conversation', () => {
  // Answers that end by themselves; that are cut off; that stop before tokens which are generated already.
  test.each([
    ['ended', {}, {}],
    ['were cut off', { max_tokens: 5 }, { maxTokens: 5 }],
    ['ended at a text', { stop: ['circles', 'triangle'] }, { stop: ['circles', 'triangle'] }],
  ])('is evaluated alone, and answered as if all were, behind answers that %s', async (_, more, options) => {
    const url = urlOf(0);
    const turns: Turn[] = [];
    for (const question of [
      'Describe the video.',
      'What happens last?',
      'What happens first?',
      'Describe the video.',
    ]) {
      const { cached, ...answer } = await ask(url, turns, question, more);
      expect(answer).toEqual(await evaluated(url, turns, question, options));
      if (turns.length > 0) expect(answer.tokens[0]! - cached).toBeLessThan(30);
      turns.push({ question, answer: answer.text });
    }
  });

  test('is found where the question is asked again, or another one is, and by another question about the video', async () => {
    const url = urlOf(1);
    const first = await ask(url, [], 'Describe the video.');
    expect(first.cached).toBe(0);
    const again = await ask(url, [], 'Describe the video.');
    expect([again.text, again.tokens]).toEqual([first.text, first.tokens]);
    const other = await ask(url, [], 'What happens last?');
    expect(other).toMatchObject(await evaluated(url, [], 'What happens last?'));
    for (const { cached, tokens } of [again, other]) expect(tokens[0]! - cached).toBeLessThan(30);
  });

  test('is not taken for that of another video, other sampling, other system text, or of other words', async () => {
    const url = urlOf(2);
    const question = 'What happens last?';
    const answer = (await ask(url, [], 'Describe the video.')).text;
    const turns = [{ question: 'Describe the video.', answer }];
    expect((await ask(urlOf(9), turns, question)).cached).toBe(0);
    expect((await ask(url, turns, question, { longvlm: { frames: 15 } })).cached).toBe(0);
    const system = [{ role: 'system', content: 'Be brief.' }, ...messagesOf(url, turns, question)];
    expect((await ask(url, turns, question, { messages: system })).cached).toBe(0);
    // The video is, and the words are not.
    const changed = [{ question: 'Describe the video.', answer: `${answer} And more.` }];
    const found = await ask(url, changed, question);
    expect(found).toMatchObject(await evaluated(url, changed, question));
    expect(found.tokens[0]! - found.cached).toBeGreaterThan(30);
  });

  test('goes on behind an answer that its client did not wait for', async () => {
    const url = urlOf(9);
    const turns = [{ question: 'Describe the video.', answer: (await ask(url, [], 'Describe the video.')).text }];
    const gone = new AbortController();
    const body = { ...usual, messages: messagesOf(url, turns, 'Describe the video.'), stream: true as const };
    const stream = await client.chat.completions.create(body, { signal: gone.signal });
    for await (const { choices } of stream) if (choices[0]?.delta.content) break;
    gone.abort();
    while ((await running('request')) !== 0) await new Promise((resolve) => setTimeout(resolve, 10));
    const next = await ask(url, turns, 'What happens last?');
    expect(next).toMatchObject(await evaluated(url, turns, 'What happens last?'));
    expect(next.tokens[0]! - next.cached).toBeLessThan(30);
  });

  test('is counted, and evaluated from the beginning where nothing is kept', async () => {
    const metrics = await (await fetch(`${service.url}/metrics`)).text();
    expect(metrics).toMatch(/^longvlm_kept_contexts [1-9]/m);
    expect(metrics).toMatch(/^longvlm_contexts_total\{from="kept"\} [1-9]/m);
    const none = await startService(vlm, { port: 0, contextMemory: 0 });
    const body = { ...usual, messages: messagesOf(urlOf(0), [], 'What happens last?') };
    for (let turn = 0; turn < 2; turn++) {
      const { usage } = await clientOf(none).chat.completions.create(body);
      expect(usage!.prompt_tokens_details).toMatchObject({ cached_tokens: 0 });
    }
    expect(await (await fetch(`${none.url}/metrics`)).text()).toMatch(/^longvlm_kept_contexts 0$/m);
    await none.close();
  });
});

test('without a cache, the features of a video are made once for all who ask at a time', async () => {
  const plain = await LongVLM.load({ threads: 1, gpu: 'off', ffmpeg: wrapper });
  const inner = plain as unknown as {
    encodeFor(question: string, video: Uint8Array, options: object): Promise<VideoFeatures>;
  };
  const scheduler = new LaneScheduler({ request: 4, fetch: 4, decode: 4, encode: 4, answer: 4 }, 0).of('client');
  const runsOf = async (requests: number) => {
    const start = readFileSync(runs, 'utf8').length;
    const sampling = { frames: 5, start: requests };
    const all = Array.from({ length: requests }, () => inner.encodeFor('?', bytesOf(1), { sampling, scheduler }));
    for (const { local } of await Promise.all(all)) expect(local).toEqual((await all[0]!).local);
    return readFileSync(runs, 'utf8').length - start;
  };
  // Its file is written for each, and ffmpeg is run for one.
  expect(await runsOf(3)).toBe(await runsOf(1));
  await plain.dispose();
});

test('a server that sends nothing keeps nobody waiting whose video is here', async () => {
  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const at = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/a.mp4`;
  try {
    const gone = new AbortController();
    const body = { ...usual, messages: messagesOf(at, [], 'What?') };
    const waiting = Array.from({ length: 3 }, () =>
      client.chat.completions.create(body, { signal: gone.signal }).catch((error: unknown) => error),
    );
    while ((await running('request')) !== 3) await new Promise((resolve) => setTimeout(resolve, 10));
    expect([await running('fetch'), await running('decode')]).toEqual([1, 0]);
    expect((await ask(urlOf(0), [], 'What happens last?')).text).toMatch(/\.$/);
    gone.abort();
    for (const each of await Promise.all(waiting)) expect(each).toBeInstanceOf(OpenAI.APIUserAbortError);
  } finally {
    silent.closeAllConnections();
    silent.close();
  }
});
