// Batches with nano: in this process against the service, and as a command.
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BatchItem, type BatchResult, FeaturesCache, LongVLM, runBatch } from '../../dist/index.js';
import { type Service, startService } from '../../dist/service/service.js';
import { longvlm, start } from '../fixtures/commandLine.js';
import { running } from '../fixtures/processes.js';
import { ffmpeg } from '../unit/video/videoFiles.js';

const world = fileURLToPath(new URL('../fixtures/world/', import.meta.url));
const [first, second] = ['world-2000000.mp4', 'world-2000005.webm'].map((name) => path.join(world, name));
const temporary = mkdtempSync(path.join(tmpdir(), 'longvlm-batch-'));
let vlm: LongVLM;
let service: Service;

beforeAll(async () => {
  const cache = await FeaturesCache.open(path.join(temporary, 'features'));
  vlm = await LongVLM.load({ threads: 1, gpu: 'off', cache, temperature: 0 });
  service = await startService(vlm, { port: 0, folders: [world], contextMemory: 0 });
});
afterAll(async () => {
  await service.close();
  await vlm.dispose();
  rmSync(temporary, { recursive: true });
});

async function resultsOf(items: readonly BatchItem[], options: Parameters<typeof runBatch>[1]) {
  const results: BatchResult[] = [];
  for await (const result of runBatch(items, options)) results.push(result);
  return new Map(results.map((result) => [result.id, result]));
}

test('a video is encoded once, and its questions are answered as if each were the only one', async () => {
  const asked = ['What happens last?', 'Describe the video.', 'What happens last?'];
  const items = [first!, second!].flatMap((video, v) => {
    const options = v === 0 ? { maxTokens: 20 } : { frames: 20, part: 'local' as const };
    return asked.map((question, q) => ({ id: `${v}${q}`, video, question, options }));
  });
  const results = await resultsOf(items, { vlm, parallel: 2 });
  for (const [id, video, options] of [
    ['01', first!, { maxTokens: 20 }],
    ['12', second!, { sampling: { frames: 20 }, part: 'local' }],
  ] as const) {
    const { text, tokenIds, stopReason } = await vlm.ask(video, asked[Number(id[1])]!, options);
    const videoTokens = id[0] === '0' ? 84 : 16;
    const usage = { answerTokens: tokenIds.length, videoTokens };
    expect(results.get(id)).toMatchObject({ answer: text, stopReason, usage });
  }
  expect(results.get('00')).toMatchObject({ answer: 'Three green triangles.', sampled: { frames: 100, segments: 20 } });
  expect(results.get('02')).toMatchObject({ answer: 'Three green triangles.', timings: { encode: 0 } });
  expect(results.get('12')).toMatchObject({ sampled: { frames: 20, segments: 4 } });
});

test('what is wrong with an item is its result, and says whether another try can help', async () => {
  const broken = path.join(temporary, 'broken.mp4');
  writeFileSync(broken, 'no video');
  const question = 'What?';
  const items: BatchItem[] = [
    { id: 'broken', video: broken, question },
    { id: 'missing', video: path.join(temporary, 'missing.mp4'), question },
    { id: 'gone', video: 'http://127.0.0.1:1/a.mp4', question },
    { id: 'long', video: first!, question: 'word '.repeat(9000) },
    { id: 'wrong', video: first!, question, options: { frames: 7 } },
    { id: 'layout', video: first!, question, options: { template: 'none' } },
  ];
  const results = await resultsOf(items, { vlm });
  const errors = items.map(({ id }) => {
    const result = results.get(id)!;
    return [id, 'error' in result && result.error.code, 'error' in result && result.error.canRetry];
  });
  expect(errors).toEqual([
    ['broken', 'ERR_LONGVLM_VIDEO', false],
    ['missing', 'ERR_LONGVLM_FILE', false],
    ['gone', 'ERR_LONGVLM_FETCH', true],
    ['long', 'ERR_LONGVLM_CONTEXT_FULL', false],
    ['wrong', 'ERR_LONGVLM_ARGUMENT', false],
    ['layout', 'ERR_LONGVLM_ARGUMENT', false],
  ]);
});

describe("OpenAI's batch files", () => {
  const about = (url: string, text: string) => [
    {
      role: 'user',
      content: [
        { type: 'video_url', video_url: { url } },
        { type: 'text', text },
      ],
    },
  ];
  const url = pathToFileURL(first!).href;
  const good = { model: 'nano', messages: about(url, 'What happens last?'), max_tokens: 20 };
  const bodies: Record<string, Record<string, unknown>> = {
    good,
    schema: { ...good, response_format: { type: 'json_schema', json_schema: { schema: { enum: ['red', 'blue'] } } } },
    outside: { ...good, messages: about(pathToFileURL(path.join(temporary, 'a.mp4')).href, 'What?') },
    private: { ...good, messages: about('http://127.0.0.1:1/a.mp4', 'What?') },
    model: { ...good, model: 'gpt-5' },
    messages: { ...good, messages: [] },
  };
  const items = Object.entries(bodies).map(([id, body]) => ({ id, body }));

  test('get what the service sends, in the form of its batches', async () => {
    const output = path.join(temporary, 'responses.jsonl');
    await resultsOf(items, { vlm, output, requests: { folders: [world] } });
    const lines = readFileSync(output, 'utf8').trimEnd().split('\n');
    expect(lines).toHaveLength(items.length);
    const client = new OpenAI({ baseURL: `${service.url}/v1`, apiKey: 'none', maxRetries: 0 });
    for (const line of lines) {
      const { id, custom_id, response, error, ...rest } = JSON.parse(line);
      const { status_code, request_id, body, ...more } = response;
      expect([rest, more, error]).toEqual([{}, {}, null]);
      expect([id, request_id]).toEqual([expect.stringMatching(/^batch_req_/), expect.any(String)]);
      const sent = await client.chat.completions
        .create(bodies[custom_id] as unknown as OpenAI.ChatCompletionCreateParamsNonStreaming)
        .catch((failure: InstanceType<typeof OpenAI.APIError>) => failure);
      if (sent instanceof OpenAI.APIError) {
        expect([status_code, body]).toEqual([sent.status, { error: sent.error }]);
        continue;
      }
      const completion: OpenAI.ChatCompletion = body;
      expect(status_code).toBe(200);
      const { id: _, created: __, longvlm: ___, ...due } = sent as typeof sent & { longvlm: unknown };
      expect(completion).toMatchObject(due);
      expect(completion.id).toMatch(/^chatcmpl-/);
    }
    const { asked } = await again(output);
    expect(asked).toBe(0);
  });

  async function again(output: string) {
    return { asked: (await resultsOf(items, { vlm, output, requests: { folders: [world] } })).size };
  }

  test('cannot be streamed', async () => {
    const body = { ...good, stream: true };
    const { response } = (await resultsOf([{ id: 'a', body }], { vlm })).get('a') as { response?: object };
    expect(response).toMatchObject({
      status: 400,
      body: { error: { param: 'stream', type: 'invalid_request_error' } },
    });
  });
});

test('the command is stopped by Ctrl-C, goes on, and lists what failed', async () => {
  const folder = path.join(temporary, 'videos');
  mkdirSync(folder);
  const names = Array.from({ length: 5 }, (_, i) => `${String(i).padStart(2, '0')}.webm`);
  for (const name of names) copyFileSync(second!, path.join(folder, name));
  writeFileSync(path.join(folder, names[4]!), 'no video');
  // While there is a file of this name, ffmpeg never ends with the third video.
  const stuck = path.join(temporary, 'stuck');
  const wrapper = path.join(temporary, 'ffmpeg');
  const endless = '-nostdin -v quiet -re -f lavfi -i anullsrc -metadata';
  const lines = [
    '#!/bin/sh',
    `case "$*" in *${names[2]}*) [ -e "${stuck}" ] && exec "${ffmpeg.path}" ${endless} title="${stuck}" -f null - ;; esac`,
    `exec "${ffmpeg.path}" "$@"`,
  ];
  writeFileSync(wrapper, `${lines.join('\n')}\n`, { mode: 0o755 });
  writeFileSync(stuck, '');
  const output = path.join(temporary, 'results.jsonl');
  const flags = ['--frames', '10', '--threads', '1', '--gpu', 'off', '--no-cache', '--temperature', '0'];
  const args = ['batch', folder, '-o', output, '--question', 'What happens last?', '--ffmpeg', wrapper, ...flags];
  const written = () => (existsSync(output) ? readFileSync(output, 'utf8').split('\n').slice(0, -1) : []);

  const { child, result } = start(args);
  // All but the one that never ends.
  while (written().length < 4 && child.exitCode === null) await setTimeout(5);
  child.kill('SIGINT');
  const stopped = await result;
  expect(stopped.stderr).toMatch(/^stopped: 4 of 5 are in .*results\.jsonl\. The same command goes on from there\.$/m);
  expect(stopped.code).toBe(130);
  if (process.platform === 'linux') expect(running(stuck)).toEqual([]);
  const before = written();

  rmSync(stuck);
  const ended = await longvlm(...args, '--json');
  expect(JSON.parse(ended.stdout)).toMatchObject({ items: 5, answered: 4, failed: 1, earlier: 4 });
  expect(ended.stderr).toMatch(/^failed: 04\.webm#[0-9a-f]{8}: .*04\.webm/m);
  expect(ended.stderr).toMatch(/^longvlm: 1 of 5 failed\. Ask them again with --retry\.$/m);
  expect(ended.code).toBe(1);
  expect(written().slice(0, 4)).toEqual(before);
  const results = written().map((line) => JSON.parse(line) as { video: string; answer?: string });
  expect(results.map(({ video }) => path.basename(video)).sort()).toEqual(names);
  // Of copies of one video.
  expect(new Set(results.flatMap(({ answer }) => answer ?? [])).size).toBe(1);
});
