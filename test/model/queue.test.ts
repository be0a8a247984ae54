// Jobs by a real Valkey or Redis server: skipped where neither is installed.
import { appendFileSync, chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FeaturesCache, LongVLM } from '../../dist/index.js';
import { QueueClient } from '../../dist/queue/client.js';
import { answerByQueue } from '../../dist/queue/handOver.js';
import { queueRunner } from '../../dist/queue/items.js';
import { modelOf } from '../../dist/queue/model.js';
import { QueueServer } from '../../dist/queue/server.js';
import { startWorker } from '../../dist/queue/worker.js';
import { startService } from '../../dist/service/service.js';
import { start } from '../fixtures/commandLine.js';
import { children, running } from '../fixtures/processes.js';
import { freePort, serverProgram, TestServer } from '../fixtures/queueServer.js';
import { ffmpeg } from '../unit/video/videoFiles.js';

if (!serverProgram) console.warn('skipped: test/model/queue.test.ts needs valkey-server or redis-server');

const world = fileURLToPath(new URL('../fixtures/world/', import.meta.url));
const file = path.join(world, 'world-2000000.mp4');
const temporary = mkdtempSync(path.join(tmpdir(), 'longvlm-queue-test-'));
/** While there is a file of this name, ffmpeg never ends; each of its runs is a line in the other. */
const stuck = path.join(temporary, 'stuck');
const runs = path.join(temporary, 'runs');
const wrapper = path.join(temporary, 'ffmpeg');
const logged: string[] = [];
const log = (line: string) => logged.push(line);
const key = 'a-key';

describe.skipIf(!serverProgram)('a queue', () => {
  let redis: TestServer;
  let vlm: LongVLM;
  const ends: (() => Promise<unknown> | unknown)[] = [];
  const later = <T>(value: T, end: (value: T) => unknown): T => {
    ends.unshift(() => end(value));
    return value;
  };
  const connect = () => QueueServer.connect(redis.url, log);

  beforeAll(async () => {
    appendFileSync(runs, '');
    writeFileSync(
      wrapper,
      `#!/bin/sh\ncase "$*" in *-version*) exec "${ffmpeg.path}" "$@" ;; esac\necho run >> "${runs}"\n` +
        `[ -e "${stuck}" ] && exec "${ffmpeg.path}" -nostdin -v quiet -re -f lavfi -i anullsrc -f null -\n` +
        `exec "${ffmpeg.path}" "$@"\n`,
    );
    chmodSync(wrapper, 0o755);
    redis = later(new TestServer(await freePort()), (server) => server.dispose());
    await redis.start();
    const cache = await FeaturesCache.open(path.join(temporary, 'features'));
    vlm = later(await LongVLM.load({ threads: 1, gpu: 'off', cache, ffmpeg: wrapper }), (loaded) => loaded.dispose());
  });
  afterAll(async () => {
    for (const end of ends) await end();
    rmSync(temporary, { recursive: true });
  });

  describe('of a service', () => {
    let client: OpenAI;
    let url: string;
    const about = (video: string, text: string) =>
      ({
        role: 'user',
        content: [
          { type: 'video_url', video_url: { url: video } },
          { type: 'text', text },
        ],
      }) as unknown as OpenAI.ChatCompletionUserMessageParam;

    beforeAll(async () => {
      const queue = later(await QueueClient.open(await connect()), (each) => each.close());
      const service = later(
        await startService(vlm, { port: 0, folders: [world], apiKeys: [key], answerElsewhere: answerByQueue(queue) }),
        (each) => each.close(),
      );
      url = service.url;
      const server = later(await connect(), (each) => each.close());
      const options = { folders: [world], servers: [url], serverKey: key, onLog: log };
      later(await startWorker(vlm, server, options), (worker) => worker.close());
      client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
    });

    test('streams the answer that one process gives, about an upload that the worker fetches', async () => {
      const question = 'Describe the video.';
      const chat = await vlm.chat(file);
      const expected = await chat.ask(question);
      await chat.dispose();
      const video = `data:video/mp4;base64,${readFileSync(file, 'base64')}`;
      const stream = await client.chat.completions.create({
        ...{ model: 'nano', messages: [about(video, question)], stream: true },
        stream_options: { include_usage: true },
      });
      const pieces: string[] = [];
      for await (const { choices } of stream) pieces.push(choices[0]?.delta.content ?? '');
      expect(pieces.join('')).toBe(expected);
      expect(pieces.filter(Boolean).length).toBeGreaterThan(1);
      expect(
        (await (await fetch(`${url}/v1/files`, { headers: { authorization: `Bearer ${key}` } })).json()) as object,
      ).toMatchObject({ data: [] });
    });

    test('ends the work at the worker when the client goes away', async () => {
      writeFileSync(stuck, '');
      const before = readFileSync(runs, 'utf8').length;
      const gone = new AbortController();
      const sampling = { longvlm: { frames: 35 } };
      const asked = client.chat.completions.create(
        {
          model: 'nano',
          messages: [about(pathToFileURL(file).href, 'What?')],
          ...sampling,
        } as OpenAI.ChatCompletionCreateParamsNonStreaming,
        { signal: gone.signal },
      );
      asked.catch(() => {});
      while (readFileSync(runs, 'utf8').length === before) await setTimeout(10);
      gone.abort();
      while (children().some((id) => running('anullsrc').includes(id))) await setTimeout(10);
      rmSync(stuck);
      while (!logged.some((line) => / ask cancelled /.test(line))) await setTimeout(10);
    });

    test('passes on what a request is refused for', async () => {
      const asked = client.chat.completions.create({
        model: 'nano',
        messages: [about('data:video/mp4;base64,AAAA', 'What?')],
      });
      await expect(asked).rejects.toMatchObject({ status: 400, code: 'ERR_LONGVLM_VIDEO' });
    });
  });

  test('gives the jobs of a worker that was killed to another, which answers once', async () => {
    const name = 'stalls';
    writeFileSync(stuck, '');
    const before = readFileSync(runs, 'utf8').length;
    const flags = ['--queue', redis.url, '--queue-name', name, '--folder', world, '--stalled-seconds', '0.5'];
    const doomed = start(['worker', ...flags, '--threads', '1', '--gpu', 'off', '--no-cache'], {
      FFMPEG_PATH: wrapper,
    });
    const queue = later(await QueueClient.open(await connect(), name), (each) => each.close());
    const runner = queueRunner(queue, await modelOf(vlm));
    const item = { id: 'first', video: file, question: 'What happens last?' };
    const { signal } = new AbortController();
    const answered = runner.run(item, { signal });
    while (readFileSync(runs, 'utf8').length === before) await setTimeout(10);
    doomed.child.kill('SIGKILL');
    await doomed.result;
    rmSync(stuck);
    const lines: string[] = [];
    const onLog = (line: string) => lines.push(line);
    const server = later(await connect(), (each) => each.close());
    later(await startWorker(vlm, server, { queue: name, folders: [world], stalledSeconds: 0.5, onLog }), (each) =>
      each.close(),
    );
    expect(await answered).toMatchObject({ id: 'first', answer: 'Three green triangles.' });
    // The same item is the same job: its result is there.
    expect(await runner.run(item, { signal })).toMatchObject({ id: 'first', answer: 'Three green triangles.' });
    expect(lines.filter((line) => / item done /.test(line))).toHaveLength(1);
  });

  test('does not give a job up whose worker lives, however often it is taken from it', async () => {
    const name = 'slow';
    writeFileSync(stuck, '');
    const before = readFileSync(runs, 'utf8').length;
    const queue = later(await QueueClient.open(await connect(), name), (each) => each.close());
    const server = later(await connect(), (each) => each.close());
    const lines: string[] = [];
    const onLog = (line: string) => lines.push(line);
    later(await startWorker(vlm, server, { queue: name, folders: [world], stalledSeconds: 0.4, onLog }), (each) =>
      each.close(),
    );
    const item = { id: 'first', video: file, question: 'What happens last?', options: { frames: 15 } };
    const answered = queueRunner(queue, await modelOf(vlm)).run(item, { signal: new AbortController().signal });
    while (readFileSync(runs, 'utf8').length === before) await setTimeout(10);
    // As its lock is when the worker is too slow to renew it.
    const losses = () => lines.filter((line) => /lost the job to another/.test(line)).length;
    let ended = false;
    void answered.finally(() => {
      ended = true;
    });
    while (losses() < 7 && !ended) {
      const [lock] = await server.redis.keys(`longvlm:${name}:item-*:lock`);
      if (lock !== undefined) await server.redis.del(lock);
      await setTimeout(20);
    }
    rmSync(stuck);
    expect(await answered).toMatchObject({ id: 'first', answer: expect.stringMatching(/\.$/) });
  });

  test('refuses jobs that are none, or that name other files', async () => {
    const name = 'refuses';
    const queue = later(await QueueClient.open(await connect(), name), (each) => each.close());
    const server = later(await connect(), (each) => each.close());
    later(await startWorker(vlm, server, { queue: name, folders: [world] }), (each) => each.close());
    const run = (job: object) =>
      queue.run({ ...job, inbox: queue.inbox, client: 'a' } as never, { id: String(Math.random()), priority: 0 });
    await expect(run({ kind: 'shell', command: 'id' })).rejects.toMatchObject({ status: 400 });
    await expect(run({ kind: 'ask', request: { messages: 'x' } })).rejects.toMatchObject({ status: 400 });
    const outside = fileURLToPath(new URL('../../package.json', import.meta.url));
    await expect(run({ kind: 'encode', video: pathToFileURL(outside).href, sampling: {} })).rejects.toMatchObject({
      status: 403,
    });
    const item = { id: 'a', video: path.join(world, '../../../package.json'), question: 'What?' };
    await expect(run({ kind: 'item', item })).rejects.toThrow(/--folder/);
    expect(await run({ kind: 'encode', video: pathToFileURL(file).href })).toMatchObject({ frames: 100, segments: 20 });
  });

  test('is not lost with its server, which starts again', async () => {
    const name = 'restarts';
    const queue = later(await QueueClient.open(await connect(), name), (each) => each.close());
    const runner = queueRunner(queue, await modelOf(vlm));
    const answered = runner.run(
      { id: 'a', video: file, question: 'What happens last?' },
      { signal: new AbortController().signal },
    );
    await setTimeout(100);
    await redis.kill();
    await redis.start();
    const server = later(await connect(), (each) => each.close());
    later(await startWorker(vlm, server, { queue: name, folders: [world] }), (each) => each.close());
    expect(await answered).toMatchObject({ id: 'a', answer: 'Three green triangles.' });
    expect(logged.filter((line) => /is away/.test(line)).length).toBeGreaterThan(0);
    expect(existsSync(stuck)).toBe(false);
  });
});

test('a server that does not answer is one line, without the password', async () => {
  const port = await freePort();
  await expect(QueueServer.connect(`redis://ann:secret@127.0.0.1:${port}`, log)).rejects.toMatchObject({
    code: 'ERR_LONGVLM_QUEUE',
    message: `No server of a queue answers at redis://127.0.0.1:${port}: nothing listens there. Start Valkey or Redis there, or give the URL of another.`,
  });
});

test('an endpoint of features needs a bucket', async () => {
  const { result } = start(['worker', '--queue', 'redis://127.0.0.1:1', '--features-endpoint', 'http://127.0.0.1:2']);
  expect(await result).toMatchObject({
    code: 2,
    stderr: 'longvlm: Expected s3://BUCKET for --features, with --features-endpoint, but received undefined\n',
  });
});
