// What the language model sees of a video: owners of patches against the patches themselves, drawings, files and the route.
import { readFileSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { float32Tensor } from '../../dist/base/tensor.js';
import {
  FeaturesCache,
  type Inspection,
  inspectionFile,
  inspectVideo,
  LongVLM,
  planTokens,
  type Reducer,
  readOwners,
  type SamplingRequest,
  VideoFeatures,
} from '../../dist/index.js';
import {
  drawFrame,
  drawPrompt,
  drawReport,
  drawSegment,
  drawSizes,
  drawTimeline,
  stretchesOf,
} from '../../dist/inspect/draw/index.js';
import { writeOwners } from '../../dist/inspect/inspection.js';
import { lookAt } from '../../dist/inspect/inspectVideo.js';
import { encodeJpeg } from '../../dist/inspect/jpeg.js';
import { encodePng } from '../../dist/inspect/paint/png.js';
import { inspectionContent } from '../../dist/inspect/report.js';
import { makeReducer } from '../../dist/reduce/reducers.js';
import { type Service, startService } from '../../dist/service/service.js';
import { longvlm, start } from '../fixtures/commandLine.js';
import { pico, picoOptions } from '../fixtures/index.js';
import { children, exists } from '../fixtures/processes.js';
import { temporaryFolder } from '../fixtures/vision/index.js';
import { run } from '../unit/video/videoFiles.js';

// pico: 20 frames in 4 segments of 5, each frame of 4 by 4 patches with 64 channels; 5 global tokens.
const [segments, patches, channels] = [4, 5 * 16, 64];
const folder = await temporaryFolder();
let vlm: LongVLM;
/** All patches of the video, [320, 64], before they are reduced. */
let all: Float32Array;

beforeAll(async () => {
  vlm = await LongVLM.load({ ...picoOptions, cache: await FeaturesCache.open(join(folder, 'cache')) });
  all = (await vlm.encode(pico.video, { sampling: { tokens: 'all' } })).local.data;
});
afterAll(() => vlm.dispose());

const look = (sampling: SamplingRequest, options = {}) =>
  inspectVideo(vlm, pico.video, { sampling, thumbnails: 0, ...options });
const row = (data: Float32Array, index: number) => data.subarray(index * channels, (index + 1) * channels);

/** The mean of those patches that went into a token, in float64. */
function meanOf(data: Float32Array, owners: Int32Array, token: number): number[] {
  const own = [...owners.keys()].filter((patch) => owners[patch] === token);
  return Array.from({ length: channels }, (_, channel) =>
    own.reduce((sum, patch) => sum + row(data, patch)[channel]! / own.length, 0),
  );
}

describe('owners', () => {
  test('are read as they are documented', () => {
    const owners = Int32Array.of(0, -1, 1, 299);
    expect(writeOwners(owners.subarray(0, 3), 2)).toEqual({ type: 'uint8', data: 'AQAC' });
    const wide = writeOwners(owners, 300);
    expect(wide).toEqual({ type: 'uint16', data: Buffer.from([1, 0, 0, 0, 2, 0, 44, 1]).toString('base64') });
    expect(readOwners(wide)).toEqual(owners);
    expect(readOwners(writeOwners(Int32Array.of(70_000, -1), 70_001))).toEqual(Int32Array.of(70_000, -1));
  });

  /** Tokens of three frames of 3 by 4, some of them alike. */
  const tokens = float32Tensor(
    Float32Array.from({ length: 36 * channels }, (_, at) => {
      const [token, channel] = [Math.floor(at / channels), at % channels];
      return Math.sin((token % 11) * 7.3 + channel * 1.7) + 0.05 * Math.cos(token * 12.9 + channel);
    }),
    [36, channels],
  );
  const shape = { frames: 3, patches: 12, grid: [3, 4] as const, channels };
  const reduced = async (reduction: string, tokensPerSegment: number) => {
    const reducer = makeReducer(reduction, { tokensPerSegment, mergeHeads: 4 }) as Reducer;
    const { owners, sizes, ...rest } = await reducer.reduce(float32Tensor(tokens.data.slice(), tokens.dims), shape);
    return { ...rest, sizes: sizes.data, owners: owners! };
  };

  test.each([
    ['merge', 7],
    ['merge', 1],
    ['merge', 36],
    ['pool', 7],
  ] as const)('of %s to %i: each token is the mean of its patches, and its size their number', async (name, count) => {
    const { owners, sizes, tokens: merged } = await reduced(name, count);
    expect(sizes).toHaveLength(count);
    for (const [token, size] of sizes.entries()) {
      expect(owners.filter((owner) => owner === token)).toHaveLength(size);
      const mean = meanOf(tokens.data, owners, token);
      for (const [channel, value] of mean.entries())
        expect(Math.abs(row(merged.data, token)[channel]! - value)).toBeLessThan(1e-6);
    }
  });

  test('of pick: each token is the patch at its place, and stands for a group as merging makes it', async () => {
    const { owners, sizes, positions, tokens: picked } = await reduced('pick', 6);
    for (const [token, position] of positions!.entries()) {
      expect(owners[position]).toBe(token);
      expect(owners.filter((owner) => owner === token)).toHaveLength(sizes[token]!);
      expect(row(picked.data, token)).toEqual(row(tokens.data, position));
    }
    const merged = await reduced('merge', 6);
    expect(new Set([...merged.owners].map((owner, at) => `${owner} ${owners[at]}`)).size).toBe(6);
  });

  test('of a video: each token of a segment is the mean of its patches', async () => {
    const inspection = await look({ tokensPerSegment: 7 });
    const { local } = await vlm.encode(pico.video, { sampling: { tokensPerSegment: 7 } });
    expect(inspection.segments).toHaveLength(segments);
    for (const [segment, { owners, sizes }] of inspection.segments.entries()) {
      const read = readOwners(owners!);
      const own = all.subarray(segment * patches * channels, (segment + 1) * patches * channels);
      expect(read).toHaveLength(patches);
      for (const [token, size] of sizes.entries()) {
        expect(read.filter((owner) => owner === token)).toHaveLength(size);
        const merged = row(local.data, segment * 7 + token);
        for (const [channel, value] of meanOf(own, read, token).entries())
          expect(Math.abs(merged[channel]! - value)).toBeLessThan(1e-5);
      }
    }
  });

  test('of evs: what was picked is a token, all else is dropped', async () => {
    const sampling = { reduction: 'evs', tokens: 45 };
    const { segments: found } = await look(sampling);
    const { local } = await vlm.encode(pico.video, { sampling });
    const read = readOwners(found[0]!.owners!);
    expect([read.length, read.filter((owner) => owner >= 0).length]).toEqual([320, 40]);
    for (let token = 0; token < 40; token++) expect(row(local.data, token)).toEqual(row(all, read.indexOf(token)));
  });

  test('are kept in files and in the cache', async () => {
    const sampling = { tokensPerSegment: 7 };
    const features = await vlm.encode(pico.video, { sampling });
    const file = join(folder, 'features.safetensors');
    await features.save(file);
    const loaded = await VideoFeatures.load(file);
    expect(loaded.owners).toEqual(features.owners);
    const inspection = await inspectVideo(vlm, loaded);
    expect(inspection.segments.map(({ owners }) => owners)).toEqual(
      (await look(sampling)).segments.map(({ owners }) => owners),
    );
    expect(inspection.notes).toEqual(['Features hold no frames: give the video to see them.']);
    const { owners: _, ...rest } = { ...loaded };
    const old = await inspectVideo(vlm, new VideoFeatures(rest));
    expect(old.segments[0]!.owners).toBeUndefined();
    expect(old.notes.join()).toContain('do not say which patches');
    expect(() => new VideoFeatures({ ...loaded, owners: loaded.owners!.map((owner) => owner + 1) })).toThrow(
      /for owners\[\d+\] but received 7/,
    );
  });

  test.each(['aim', 'fastvid', 'flashvid'])('of %s: each token stands at one of its patches', async (reduction) => {
    const inspection = await look({ reduction, tokens: 65 });
    const { owners, positions, sizes } = inspection.segments[0]!;
    const read = readOwners(owners!);
    expect(read).toHaveLength(320);
    expect(positions!.map((place) => read[place])).toEqual([...positions!.keys()]);
    const counts = sizes.map((_, token) => read.filter((owner) => owner === token).length);
    // In fastvid's a patch may have gone into several tokens.
    if (reduction === 'fastvid') expect(counts.every((count, token) => count <= sizes[token]!)).toBe(true);
    else expect(counts).toEqual(sizes);
    expect(inspection.notes).toEqual([]);
  });

  test('of merged tokens that do not tell them are not known, and it says so', async () => {
    const features = await vlm.encode(pico.video, { sampling: { reduction: 'aim', tokens: 65 } });
    const { owners: _, ...rest } = { ...features };
    const inspection = await inspectVideo(vlm, new VideoFeatures(rest));
    expect(inspection.segments[0]!.owners).toBeUndefined();
    expect(inspection.segments[0]!.positions!.length).toBe(inspection.tokens.local);
    expect(inspection.notes.join()).toContain('The method aim tells where each token stands');
    expect(drawSegment(inspection, 0)).toContain('data-token="0"');
  });
});

test('counts the prompt as the language model does, text and video in turn', async () => {
  const options = { timestamps: true, question: 'Where is the <circle>?', sampling: { tokensPerSegment: 7 } };
  const inspection = await inspectVideo(vlm, pico.video, options);
  const chat = await vlm.chat(pico.video, { timestamps: true, sampling: { tokensPerSegment: 7 } });
  const before = chat.usedTokens;
  await chat.ask('Where is the <circle>?', { maxTokens: 1 });
  const { tokens } = inspection;
  expect(tokens.video).toBe(5 + 4 * 7);
  expect(tokens.prompt).toBe(before + chat.lastAnswer!.promptTokens);
  const stretches = stretchesOf(inspection);
  expect(stretches.flatMap(({ kind, segment }) => (kind === 'local' ? [segment] : []))).toEqual([0, 1, 2, 3]);
  expect(stretches.reduce((sum, stretch) => sum + stretch.tokens, 0)).toBe(tokens.prompt);
  expect(JSON.stringify(inspection.prompt)).toContain('<circle>');
  await chat.dispose();
});

test('a plan says what encoding gives, without a video', async () => {
  const plan = planTokens(vlm, { budgets: [3, 33, 45, 10_000] });
  expect(plan).toMatchObject({ frames: 20, segments: 4, patches: 320, global: 5 });
  const budgetsOf = (reduction: string) => plan.methods.find((method) => method.reduction === reduction)!.budgets;
  // As was encoded above.
  const merged = await vlm.encode(pico.video, { sampling: { tokens: 33 } });
  const picked = await vlm.encode(pico.video, { sampling: { reduction: 'evs', tokens: 45 } });
  expect(budgetsOf('merge')[1]).toEqual({ budget: 33, tokens: merged.tokenCount });
  expect(budgetsOf('evs')[2]).toEqual({ budget: 45, tokens: picked.tokenCount });
  expect(budgetsOf('merge')[3]).toEqual({ budget: 10_000, tokens: 325 });
  // evs keeps the whole first frame.
  expect(budgetsOf('evs')[0]).toMatchObject({ problem: expect.stringContaining('at least 16') });
  const rate = planTokens(vlm, { sampling: { fps: 2, maxFrames: 50 }, duration: 60 });
  expect(rate).toMatchObject({ frames: 50, segments: 10 });
});

describe('a drawing', () => {
  const base: Inspection = {
    object: 'inspection',
    version: 1,
    video: {
      name: '<img src=x onerror="a()">&',
      durationSeconds: 4,
      frameCount: 8,
      width: 64,
      height: 64,
      warnings: [],
    },
    models: { vision: 'clip' },
    method: {
      ...{ reduction: 'merge', whole: false, part: 'both', frames: 2, segmentFrames: 2, tokensPerSegment: 3 },
      resize: 'crop',
    },
    grid: { steps: 2, framesPerStep: 1, rows: 2, columns: 2 },
    global: { tokens: 0, layers: [], of: 5 },
    segments: [
      {
        ...{ index: 0, start: 1, end: 4, sizes: [5, 1, 1] },
        frames: [{ time: 1 }, { time: 3, thumbnail: 'https://elsewhere.example/"><script>' }],
        // In the first frame, the upper row and the lower left; the last patch is dropped.
        owners: writeOwners(Int32Array.of(0, 0, 0, 1, 0, 0, 2, -1), 3),
      },
    ],
    tokens: { patches: 8, global: 0, local: 3, ending: 0, video: 3, text: 2, prompt: 5, context: 100 },
    prompt: [
      { kind: 'text', text: '</script><b>', tokens: 2 },
      { kind: 'video', from: 0, to: 3 },
    ],
    notes: ['<i>'],
  };

  test('paints the patches of a token, and draws lines only between tokens', () => {
    const first = drawFrame(base, 0, 0, { width: 100, sizes: false });
    expect(first).toContain('d="M0 0h100v50h-100zM0 50h50v50h-50z" data-token="0"');
    expect(first).not.toContain('data-token="1"');
    // Left of the single patch, and above it.
    expect(first).toContain('d="M49.5 50h1v50h-1zM50 49.5h50v1h-50z"');
    expect(first).toContain('2 tokens of it: 3 patches merged with others, 1 patch kept.');
    const second = drawFrame(base, 0, 1, { width: 100, sizes: false });
    expect(second).toContain('d="M50 50h50v50h-50z" fill="#000"');
    expect(second).toContain('1 patch dropped');
  });

  test('holds no markup of others, and nothing from elsewhere', () => {
    const page = inspectionFile(base, 'html');
    const drawings = [drawTimeline(base), drawPrompt(base), drawSegment(base, 0), drawSizes(base, 0), drawReport(base)];
    for (const text of [page, ...drawings]) {
      expect(text).not.toMatch(/<img|<b>|<i>|elsewhere|onerror="/);
      expect(text.replace(/<script>.*<\/script>/s, '')).not.toMatch(/NaN|undefined|Infinity/);
    }
    expect(page.match(/<script/g)).toHaveLength(1);
    expect(page.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:|url\(/);
    const hostile = { ...base, segments: [{ ...base.segments[0]!, sizes: ['"><b>' as unknown as number] }] };
    expect(drawSizes(hostile, 0)).not.toContain('<b>');
  });

  test('tells what it shows to those who do not see it', () => {
    for (const text of [drawFrame(base, 0, 0, { id: 'a' }), drawPrompt(base, { id: 'a' })])
      expect(text).toMatch(
        /^<svg [^>]*role="img" aria-labelledby="a-title a-desc"[^>]*><title id="a-title">[^<]+<\/title><desc id="a-desc">[^<]+</,
      );
    expect(drawTimeline(base, { href: (segment) => `#segment-${segment + 1}` })).toMatch(
      /role="group".*<a href="#segment-1">/,
    );
  });

  test('needs no Node', async () => {
    const drawing = join(import.meta.dirname, '../../dist/inspect/draw');
    const files = (await readdir(drawing)).filter((name) => name.endsWith('.js')).map((name) => join(drawing, name));
    for (const file of [...files, join(drawing, '../inspection.js')])
      for (const [, from] of readFileSync(file, 'utf8').matchAll(/ from '([^']+)'/g))
        expect(from).toMatch(/^\.\/\w+\.js$|^\.\.\/inspection\.js$/);
  });
});

test('pictures are what ffmpeg reads from their files', async () => {
  const [width, height] = [37, 21];
  const data = Uint8Array.from({ length: width * height * 3 }, (_, at) => {
    const [x, y, channel] = [Math.floor(at / 3) % width, Math.floor(at / 3 / width), at % 3];
    return 128 + 100 * Math.sin((x + 2 * channel) / 6) * Math.cos((y - channel) / 5);
  });
  const pixelsOf = async (name: string, bytes: Uint8Array) => {
    const file = join(folder, name);
    await writeFile(file, bytes);
    return run('-i', file, '-vf', 'scale=flags=accurate_rnd,format=rgb24', '-f', 'rawvideo', '-');
  };
  const png = await pixelsOf('a.png', await encodePng({ width, height, data }));
  expect(Uint8Array.from(png)).toEqual(data);
  const jpeg = await pixelsOf('a.jpg', encodeJpeg({ width, height, data }, 95));
  expect(jpeg).toHaveLength(data.length);
  const error = data.reduce((sum, value, at) => sum + Math.abs(value - jpeg[at]!), 0) / data.length;
  expect(error).toBeLessThan(2);
});

describe('longvlm inspect', () => {
  const models = ['--vision', picoOptions.vision!, '--projector', picoOptions.projector!, '--llm', picoOptions.llm!];
  const sampling = ['--frames', '5', '--segment-frames', '5', '--merge-tokens', '7'];

  test('writes a picture, and says what is in it', async () => {
    const file = join(await temporaryFolder(), 'a.png');
    const { stdout, stderr, code } = await longvlm('inspect', pico.video, '-o', file, ...models, ...sampling, '--json');
    expect([stderr, code]).toEqual(['', 0]);
    expect(JSON.parse(stdout)).toMatchObject({ output: file, frames: 5, segments: 1, tokens: { video: 12 } });
    expect(run('-i', file, '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-').length % (2000 * 3)).toBe(0);
  });

  test('writes no file of a kind that there is not', async () => {
    const { stderr, code } = await longvlm('inspect', pico.video, '-o', join(folder, 'a.gif'), ...models);
    expect([code, stderr]).toEqual([2, expect.stringContaining('name that ends in .html, .svg, .png, .json')]);
  });

  test('leaves no file and no process when it is stopped', async () => {
    const own = await temporaryFolder();
    const { child, result } = start(['inspect', pico.video, '-o', join(own, 'b.html'), ...models, '--no-cache']);
    // Its first ffmpeg.
    await expect.poll(() => children(child.pid), { timeout: 50_000, interval: 5 }).not.toEqual([]);
    const begun = children(child.pid);
    child.kill('SIGTERM');
    expect((await result).code).toBe(143);
    expect(await readdir(own)).toEqual([]);
    expect(begun.filter(exists)).toEqual([]);
  });
});

test('frames are as the tower got them, and in all kinds of files', async () => {
  const sampling = { frames: 10, segmentFrames: 5, tokensPerSegment: 7 };
  const sight = await lookAt(vlm, pico.video, { sampling, thumbnails: 12 });
  const urls = sight.inspection.segments.flatMap(({ frames }) =>
    frames.map(({ thumbnail }) => thumbnail!.slice(0, 23)),
  );
  expect(urls).toEqual(Array(10).fill('data:image/jpeg;base64,'));
  expect(sight.pictures.map(({ width, height, data }) => [width, height, data.length])).toEqual(
    Array(10).fill([12, 12, 432]),
  );
  const [page, drawing, json] = await Promise.all(
    (['.html', '.svg', '.json'] as const).map(async (ending) =>
      String(await inspectionContent(sight, ending, undefined)),
    ),
  );
  expect(page!.match(/<figure>/g)).toHaveLength(10);
  expect(page!.match(/<image /g)!.length).toBeGreaterThanOrEqual(10);
  expect(drawing).toMatch(/^<\?xml .*<\/svg>\n$/s);
  expect(JSON.parse(json!)).toEqual(sight.inspection);
  await expect(inspectionContent(sight, '.png', AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
});

test('an abort ends all of it', async () => {
  const controller = new AbortController();
  const looking = inspectVideo(vlm, pico.video, {
    ...{ cache: false, signal: controller.signal, sampling: { frames: 10 } },
    onProgress: ({ stage, done }) => stage === 'encode' && done > 0 && controller.abort(new Error('enough')),
  });
  await expect(looking).rejects.toThrow('enough');
  await expect.poll(() => children()).toEqual([]);
});

describe('POST /v1/inspect', () => {
  let service: Service;
  beforeAll(async () => {
    service = await startService(vlm, { port: 0, apiKeys: ['key'] });
  });
  afterAll(() => service.close());
  const post = async (body: object, query = '', key = 'key') => {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${key}` };
    const response = await fetch(`${service.url}/v1/inspect${query}`, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
    });
    return { status: response.status, body: (await response.json()) as Inspection & { error?: { message: string } } };
  };
  const url = `data:video/mp4;base64,${readFileSync(pico.video, 'base64')}`;

  test('takes the body of a chat, and answers as the library does', async () => {
    const longvlm = { frames: 10, segmentFrames: 5, tokensPerSegment: 6 };
    const messages = [{ role: 'user', content: [{ type: 'video_url', video_url: { url } }] }];
    const { status, body } = await post({ messages, longvlm, thumbnails: 16, temperature: 0 });
    expect(status).toBe(200);
    const { video, ...seen } = await inspectVideo(vlm, pico.video, { sampling: longvlm, thumbnails: 16 });
    expect(body).toEqual({ ...seen, video: { ...video, name: 'video' } });
  });

  test('plans without a video, and refuses what it cannot do', async () => {
    expect((await post({}, '?plan')).body).toEqual(JSON.parse(JSON.stringify(planTokens(vlm))));
    expect((await post({ plan: true, longvlm: { tokensPerSegment: 3 } })).body).toMatchObject({
      asked: { reduction: 'merge', own: { tokens: 5 + 4 * 3 } },
    });
    expect((await post({})).body.error!.message).toBe('Give messages with a video, as for a chat.');
    expect((await post({ plan: true }, '', 'wrong')).status).toBe(401);
    expect((await post({ plan: true, longvlm: { frames: 100_000 } })).status).toBe(400);
    expect((await post({ thumbnails: 1000, messages: [] })).status).toBe(400);
  });
});
