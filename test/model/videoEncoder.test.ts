// Videos of every kind, sampled as each request says, encoded once however many ask.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  describeModels,
  FeaturesCache,
  LongVLM,
  loadVideoEncoder,
  type Progress,
  type Reducer,
  type SamplingRequest,
  VideoEncoder,
  VideoFeatures,
} from '../../dist/index.js';
import { findFfmpeg } from '../../dist/video/ffmpeg.js';
import { sessionThreads } from '../fixtures/graphs.js';
import { pico, picoOptions, relativeError } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

const { projector: _, llm: __, ...options } = picoOptions;
const folder = await temporaryFolder();
let encoder: VideoEncoder;
let features: VideoFeatures;
const encode = (sampling: SamplingRequest) => encoder.encode(pico.video, { sampling });

beforeAll(async () => {
  encoder = await VideoEncoder.create(options);
  features = await encoder.encode(pico.video);
});
afterAll(() => encoder.dispose());

describe('sampling by request', () => {
  const requests: [string, SamplingRequest][] = [
    ['fewer frames', { frames: 10 }],
    ['other segments', { segmentFrames: 10, tokensPerSegment: 9 }],
    ['squashed frames', { resize: 'squash' }],
    ['other heads', { mergeHeads: 2 }],
    ['pooling', { reduction: 'pool' }],
    ['fewer layers', { globalLayers: 2 }],
  ];
  test.each(requests)('%s give what an encoder gives that was made so', async (_, sampling) => {
    const own = await VideoEncoder.create({ ...options, ...sampling });
    try {
      expect(await encode(sampling)).toEqual(await own.encode(pico.video));
    } finally {
      await own.dispose();
    }
    // And the next request is not changed by it.
    expect((await encode({})).local.data).toEqual(features.local.data);
  });

  test('E is chosen when class tokens are pooled: 0 to as many as the tower has', async () => {
    const all = await encode({ globalLayers: 7 });
    expect(all.global.dims).toEqual([7, 64]);
    expect([...all.global.data.slice(-5 * 64)]).toEqual([...features.global.data]);
    const none = await encode({ globalLayers: 0 });
    expect(none.global.dims).toEqual([0, 64]);
    expect(none.local.data).toEqual(features.local.data);
    expect(none.tokenCount).toBe(24);
    expect(none.tokens().data).toEqual(none.local.data);
    await expect(encode({ globalLayers: 8 })).rejects.toThrow('Expected integer between 0 and 7 for globalLayers');
  });

  test.each<[SamplingRequest, RegExp]>([
    [{ frames: 21 }, /multiple of segmentFrames \(5\) for frames but received 21/],
    [{ tokensPerSegment: 81 }, /81/],
    [{ mergeHeads: 7 }, /divisor of the vision tower's 64 channels/],
    [{ fps: 0 }, /number above 0 and at most 1000 for fps/],
    [{ fps: 1, frames: 5 }, /nothing, as frames is given, for fps/],
    [{ fps: 1001 }, /at most 1000 for fps/],
    [{ start: -1 }, /number of at least 0 for start/],
    [{ start: 5, end: 5 }, /number above start \(5\) for end/],
    [{ reduction: 'shuffle' }, /one of merge, pick, pool, subsample, all, fastvid, .*random for reduction/],
    [{ reduction: {} as never }, /for reduction\.id/],
    [null as never, /object for sampling/],
    [{ frame: 5 } as never, /one of frames, fps, .* for a key of sampling but received 'frame'/],
  ])('refuses %j before the video is looked at', async (sampling, message) => {
    await expect(encoder.encode('none.mp4', { sampling })).rejects.toThrow(message);
  });

  test('a rate is rounded to whole segments, and what was used is told', async () => {
    const { sampling, timestamps } = await encode({ fps: 0.7 });
    // 20.16 s at 0.7 frames a second are 14.1 frames, so three segments of five.
    expect(sampling.frames).toBe(15);
    expect(sampling.fps).toBeCloseTo(15 / 20.16, 2);
    expect(timestamps).toHaveLength(15);
    expect(encoder.tokenCountOf('both', { fps: 0.7 })).toBe(5 + 6);
  });

  test('a rate of a still picture is one segment, and its features can be saved', async () => {
    const { path: ffmpeg } = await findFfmpeg();
    const picture = join(folder, 'still.png');
    execFileSync(ffmpeg, ['-loglevel', 'error', '-i', pico.video, '-frames:v', '1', picture]);
    const still = await encoder.encode(picture, { sampling: { fps: 2 } });
    expect(still.sampling).toMatchObject({ frames: 5, fps: 2 });
    await still.save(join(folder, 'still.safetensors'));
    expect(await VideoFeatures.load(join(folder, 'still.safetensors'))).toEqual(still);
  });

  test('a part of the video gives its frames alone', async () => {
    const part = await encode({ start: 5, end: 10, frames: 10 });
    expect(part.timestamps.every((time) => time >= 5 && time < 10)).toBe(true);
    expect(part.timestamps[0]).toBeLessThan(5.5);
    expect(part.timestamps.at(-1)).toBeGreaterThan(9.5);
    expect(part.sampling).toMatchObject({ frames: 10, start: 5, end: 10 });
    await expect(encode({ start: 30 })).rejects.toThrow(/30/);
  });
});

describe('one video in every form', () => {
  const bytes = readFileSync(pico.video);
  const server = createServer((request, response) => {
    if (request.url === '/moved') response.writeHead(302, { location: '/video.mp4?token=x' }).end();
    else response.writeHead(200, { 'content-type': 'video/mp4', 'content-length': bytes.length }).end(bytes);
  });
  let base: string;
  beforeAll(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => server.close());

  test.each<[string, () => Parameters<VideoEncoder['encode']>[0]]>([
    ['a file: URL', () => pathToFileURL(pico.video)],
    ['a URL', () => new URL(`${base}/moved`)],
    ['a URL as text', () => `${base}/video.mp4`],
    ['bytes', () => new Uint8Array(bytes)],
    ['a Blob', () => new Blob([bytes])],
    ['a stream', () => createReadStream(pico.video)],
  ])('%s gives the same features as its path', async (_, input) => {
    const other = await encoder.encode(input());
    expect(other.local.data).toEqual(features.local.data);
    expect(other.global.data).toEqual(features.global.data);
    expect(other.timestamps).toEqual(features.timestamps);
  });

  test('its pictures, in order and with their times, do, too', async () => {
    const pictures = join(folder, 'pictures');
    mkdirSync(pictures);
    const { path: ffmpeg } = await findFfmpeg();
    const toRgb = ['-vf', 'scale=flags=bicubic,format=rgb24', '-fps_mode', 'passthrough'];
    execFileSync(ffmpeg, ['-loglevel', 'error', '-i', pico.video, ...toRgb, join(pictures, '%04d.png')]);
    const files = readdirSync(pictures)
      .sort()
      .map((name) => join(pictures, name));
    expect(files).toHaveLength(252);
    const timestamps = files.map((_, index) => index / 12.5);
    const other = await encoder.encode({ frames: files, timestamps });
    expect(relativeError(other.local.data, features.local.data)).toBeLessThan(1e-5);
    expect(relativeError(other.timestamps, features.timestamps)).toBeLessThan(1e-3);
    expect(other.source).toMatchObject({ frameCount: 252, width: 128, height: 96 });
  });

  test('one entry of the cache serves them all', async () => {
    const cache = await FeaturesCache.open(join(folder, 'forms'));
    const started: string[] = [];
    const onProgress = ({ stage, done, name }: Progress) => stage === 'encode' && done === 0 && started.push(name!);
    for (const input of [pico.video, new Uint8Array(bytes), new URL(`${base}/other.mp4`)])
      await encoder.encode(input, { cache, onProgress });
    expect(started).toEqual(['video.mp4']);
    expect((await encoder.encode(new URL(`${base}/other.mp4`), { cache })).source.name).toBe('other.mp4');
  });
});

describe('the same request many times at once', () => {
  test('20 in one process: one encoding, and 20 equal features', async () => {
    const cache = await FeaturesCache.open(join(folder, 'once'));
    const settled = encoder.settle().reducer as Reducer;
    let segments = 0;
    const reduction: Reducer = {
      ...settled,
      reduce: (...args) => {
        segments++;
        return settled.reduce(...args);
      },
    };
    const { signal } = new AbortController();
    const warnings: Error[] = [];
    process.on('warning', (warning) => warnings.push(warning));
    const call = (sampling: SamplingRequest) =>
      encoder.encode(pico.video, { cache, sampling: { ...sampling, reduction }, signal });
    const all = await Promise.all(Array.from({ length: 20 }, () => call({})));
    for (const each of all) expect(each.local.data).toEqual(features.local.data);
    expect(segments).toBe(4);
    // Another sampling is another request.
    await call({ globalLayers: 1 });
    expect(segments).toBe(8);
    expect(warnings).toEqual([]);
  });

  test('5 in each of four processes: one encoding', async () => {
    const script = `
      import { FeaturesCache, VideoEncoder } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)};
      const encoder = await VideoEncoder.create(${JSON.stringify({ ...options, lazy: true })});
      const cache = await FeaturesCache.open(${JSON.stringify(join(folder, 'shared'))});
      let segments = 0;
      const { reducer } = encoder.settle();
      const reduction = { ...reducer, reduce: (...args) => (segments++, reducer.reduce(...args)) };
      process.stdout.write('ready\\n');
      await new Promise((resolve) => process.stdin.once('data', resolve));
      process.stdin.unref();
      const call = () => encoder.encode(${JSON.stringify(pico.video)}, { cache, sampling: { reduction } });
      const all = await Promise.all([call(), call(), call(), call(), call()]);
      await encoder.dispose();
      process.stdout.write(JSON.stringify({ segments, sum: all.map(({ local }) => local.data.reduce((a, b) => a + b)) }));`;
    const children = [0, 1, 2, 3].map(() => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      let output = '';
      child.stdout.on('data', (chunk) => {
        output += chunk;
      });
      const ready = once(child.stdout, 'data');
      const ended = once(child, 'close').then(() => JSON.parse(output.split('\n')[1]!));
      return { child, ready, ended };
    });
    await Promise.all(children.map(({ ready }) => ready));
    for (const { child } of children) child.stdin.end('go\n');
    const results: { segments: number; sum: number[] }[] = await Promise.all(children.map(({ ended }) => ended));
    expect(results.reduce((sum, { segments }) => sum + segments, 0)).toBe(4);
    const sum = features.local.data.reduce((a, b) => a + b);
    expect(results.flatMap((result) => result.sum)).toEqual(Array(20).fill(sum));
  });
});

test('a lazy LongVLM starts no thread but for what it comes to need', async () => {
  const cache = await FeaturesCache.open(join(folder, 'lazy'));
  const before = sessionThreads();
  const vlm = await LongVLM.load({ ...picoOptions, lazy: true, cache });
  expect(sessionThreads()).toBe(before);
  await encoder.encode(pico.video, { cache });
  // Found in the cache: no tower for it.
  const kept = await vlm.encode(pico.video);
  expect(sessionThreads()).toBe(before);
  expect(vlm.models.vision.device).toBeUndefined();
  const answer = await vlm.ask(kept, pico.expected.prompt.question, { temperature: 0, maxTokens: 16 });
  expect(answer.tokenIds).toEqual(pico.expected.greedy_linear);
  expect(sessionThreads()).toBe(before + 1);
  expect([vlm.models.projector!.device, vlm.models.vision.device]).toEqual(['cpu', undefined]);
  await vlm.dispose();
  await expect.poll(sessionThreads).toBe(before);
});

describe('without a projector or a language model', () => {
  test('models are encoded with by name, mmproj file or folder', async () => {
    const { vision: _, ...sampling } = options;
    const byMmproj = await loadVideoEncoder({ ...sampling, projector: pico.mmproj });
    try {
      expect((await byMmproj.encode(pico.video)).local.dims).toEqual([4, 6, 64]);
    } finally {
      await byMmproj.dispose();
    }
    const nano = await loadVideoEncoder({ device: 'cpu', threads: 1, lazy: true });
    expect(nano.settle()).toMatchObject({ frames: 100, segmentFrames: 5, tokensPerSegment: 4, globalLayers: 4 });
    expect(nano.settle({ frames: 10 }).frames).toBe(10);
    await nano.dispose();
    await expect(loadVideoEncoder({ projector: pico.projector })).rejects.toThrow(/Expected vision/);
  });

  test('models are described, whether or not they fit each other and the sampling', async () => {
    const tower = await describeModels({ vision: pico.clip, globalLayers: 5, tokensPerSegment: 5000 });
    expect(tower).toMatchObject({ vision: { channels: 64, layers: 6, summaries: 7 } });
    expect(tower).not.toHaveProperty('llm');
    expect(tower).not.toHaveProperty('preset');
  });
});

test('the command line shows its help without reading a file of a model', () => {
  const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
  const watched = `
    import fs from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    const read = fs.readFileSync;
    fs.readFileSync = (path, ...rest) => {
      if (/preset\\.json/.test(String(path))) throw new Error('read ' + path);
      return read(path, ...rest);
    };
    syncBuiltinESMExports();`;
  const preload = `data:text/javascript,${encodeURIComponent(watched)}`;
  const help = execFileSync(process.execPath, ['--import', preload, main, 'ask', '--help'], { encoding: 'utf8' });
  expect(help).toContain('--merge-tokens <n>');
});
