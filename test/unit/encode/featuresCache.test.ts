import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { hashFile } from '../../../dist/base/hash.js';
import { float32Tensor } from '../../../dist/base/tensor.js';
import { FeaturesCache } from '../../../dist/encode/featuresCache.js';
import type { Sampling } from '../../../dist/encode/sampling.js';
import { VideoFeatures } from '../../../dist/encode/videoFeatures.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const folder = await temporaryFolder();
const sampling: Sampling = {
  frames: 2,
  segmentFrames: 1,
  tokensPerSegment: 1,
  globalLayers: 1,
  resize: 'crop',
  reduction: 'merge',
  mergeHeads: 1,
};

function featuresOf(value: number, tower = 'tower'): VideoFeatures {
  return new VideoFeatures({
    local: float32Tensor(Float32Array.of(value, 0), [2, 1, 1]),
    global: float32Tensor(Float32Array.of(value), [1, 1]),
    sizes: float32Tensor(Float32Array.of(1, 1), [2, 1]),
    timestamps: Float32Array.of(0, 1),
    sampling,
    tower,
    source: { name: 'made.mp4', durationSeconds: 2, frameCount: 2, width: 2, height: 2, warnings: [] },
  });
}

let videos = 0;
/** A cache of its own, and videos in it. */
async function cacheWith(contents: readonly string[], maxBytes?: number) {
  const place = join(folder, `cache${videos++}`);
  const cache = await FeaturesCache.open(place, maxBytes);
  let encodings = 0;
  const ask = async (content: string, { name = `${content}.mp4`, tower = 'tower', use = sampling } = {}) => {
    const video = join(folder, name);
    await writeFile(video, content);
    const encode = async () => featuresOf(++encodings, tower);
    const request = {
      content: (signal?: AbortSignal) => hashFile(video, signal),
      name: basename(video),
      identity: { tower, sampling: use },
      matches: (features: VideoFeatures) => features.tower === tower,
    };
    const features = await cache.featuresOf(request, encode);
    return { value: features.global.data[0], name: features.source.name };
  };
  for (const content of contents) await ask(content);
  return { cache, place, ask };
}

describe('FeaturesCache', () => {
  test('gives what was kept for the same content, by the name of the file that is asked about', async () => {
    const { ask } = await cacheWith([]);
    expect(await ask('one')).toEqual({ value: 1, name: 'one.mp4' });
    expect(await ask('one')).toEqual({ value: 1, name: 'one.mp4' });
    expect(await ask('one', { name: 'renamed.mp4' })).toEqual({ value: 1, name: 'renamed.mp4' });
  });

  test.each<[string, object]>([
    ['content', { name: 'one.mp4' }],
    ['tower', { tower: 'other' }],
    ['sampling', { use: { ...sampling, resize: 'pad' } }],
    ['merging', { use: { ...sampling, mergeHeads: 2 } }],
  ])('makes it anew for another %s', async (what, options) => {
    const { ask } = await cacheWith(['one']);
    expect((await ask(what === 'content' ? 'two' : 'one', options)).value).toBe(2);
    // And leaves what was there.
    expect((await ask('one')).value).toBe(1);
  });

  test('makes a damaged entry anew, whole', async () => {
    const { ask, place } = await cacheWith(['one']);
    const [name] = await readdir(place);
    const whole = await readFile(join(place, name!));
    for (const bytes of [0, 7, 100, whole.length - 1]) {
      await writeFile(join(place, name!), whole.subarray(0, bytes));
      const { value } = await ask('one');
      expect((await ask('one')).value).toBe(value);
    }
    expect((await readFile(join(place, name!))).length).toBe(whole.length);
  });

  test('makes an entry anew that is not what its name says', async () => {
    const { ask, place } = await cacheWith(['one']);
    const [name] = await readdir(place);
    await featuresOf(7, 'other').save(join(place, name!));
    expect((await ask('one')).value).toBe(2);
    expect((await ask('one')).value).toBe(2);
  });

  test('encodes once for all that ask at once, each by its own name, and leaves one whole entry', async () => {
    const { ask, place } = await cacheWith([]);
    const names = Array.from({ length: 20 }, (_, i) => `${i}.mp4`);
    const answers = await Promise.all(names.map((name) => ask('one', { name })));
    expect(answers).toEqual(names.map((name) => ({ value: 1, name })));
    expect(await readdir(place)).toHaveLength(1);
    expect((await ask('one')).value).toBe(1);
  });

  test('reports progress to all that wait for an encoding', async () => {
    const { cache } = await cacheWith([]);
    const request = { content: async () => 'content', name: 'a.mp4', identity: 1 };
    const progress = { stage: 'encode', done: 1, total: 2, unit: 'frames' } as const;
    const seen: unknown[] = [];
    const ask = (caller: string) =>
      cache.featuresOf(
        request,
        async (_, onProgress) => {
          onProgress(progress);
          return featuresOf(1);
        },
        undefined,
        (reported) => seen.push([caller, reported]),
      );
    await Promise.all([ask('first'), ask('second')]);
    expect(seen).toEqual([
      ['first', progress],
      ['second', progress],
    ]);
  });

  test('rejects with what reading or encoding the video throws', async () => {
    const { cache, ask } = await cacheWith([]);
    const unreadable = { content: () => Promise.reject(new Error('gone')), name: 'a.mp4', identity: 1 };
    await expect(cache.featuresOf(unreadable, async () => featuresOf(1))).rejects.toThrow('gone');
    const request = { content: async () => 'content', name: 'a.mp4', identity: 1 };
    await expect(cache.featuresOf(request, () => Promise.reject(new Error('no video')))).rejects.toThrow('no video');
    expect((await ask('one')).value).toBe(1);
  });

  test('removes what was not used for the longest time when it is too large', async () => {
    const { cache } = await cacheWith(['one']);
    const { bytes } = (await cache.list())[0]!;
    const limited = await cacheWith(['one', 'two'], 2.5 * bytes);
    // Times of files may be as coarse as seconds: they are set apart.
    const past = new Date(Date.now() - 10_000);
    for (const { file } of await limited.cache.list()) await utimes(file, past, past);
    expect((await limited.ask('one')).value).toBe(1);
    await limited.ask('three');
    expect(await limited.cache.list()).toHaveLength(2);
    expect((await limited.ask('one')).value).toBe(1);
    expect((await limited.ask('two')).value).toBe(4);
  });

  test('keeps what was just made, however small the limit', async () => {
    const { ask } = await cacheWith([], 1);
    await ask('one');
    expect((await ask('one')).value).toBe(1);
  });

  test('removes what ended processes left behind, and not what others are writing', async () => {
    const { ask, place } = await cacheWith([]);
    // As the releases before named them.
    const [old, fresh] = ['a', 'b'].map((digit) => `${digit.repeat(64)}.safetensors.0123456789ab.tmp`) as [
      string,
      string,
    ];
    for (const name of [old, fresh]) await writeFile(join(place, name), 'half');
    const longAgo = new Date(Date.now() - 48 * 3600 * 1000);
    await utimes(join(place, old), longAgo, longAgo);
    await ask('one');
    const names = await readdir(place);
    expect([names.includes(old), names.includes(fresh)]).toEqual([false, true]);
  });

  test('is cleared with what ended processes left behind', async () => {
    const { cache, place } = await cacheWith(['one', 'two']);
    const left = join(place, `${'c'.repeat(64)}.safetensors.0123456789ab.tmp`);
    await writeFile(left, 'half');
    // Clocks are no more exact than this, a moment ahead here.
    const soon = new Date(Date.now() + 1000);
    await utimes(left, soon, soon);
    expect(await cache.clear()).toHaveLength(2);
    expect(await readdir(place)).toEqual([]);
  });

  test('takes a folder that was a cache before, and what systems put there', async () => {
    const { place, ask } = await cacheWith(['one']);
    await writeFile(join(place, 'notes.txt'), 'mine');
    await FeaturesCache.open(place);
    expect((await ask('one')).value).toBe(1);
    const fresh = join(folder, 'mount');
    await mkdir(join(fresh, 'lost+found'), { recursive: true });
    await writeFile(join(fresh, '.DS_Store'), '');
    await FeaturesCache.open(fresh);
  });

  test('calls a video in its warnings by the name that it has now', async () => {
    const { cache } = await cacheWith([]);
    const request = { content: async () => 'content', identity: 1 };
    // The first as releases before kept it.
    const warnings = ["'/home/alice/old (1).mp4' is damaged or cut short: 3 frames are used.", "'old (1).mp4' is odd."];
    const made = featuresOf(1);
    const encode = async () =>
      new VideoFeatures({ ...made, source: { ...made.source, name: 'old (1).mp4', warnings } });
    for (const name of ['first.mp4', '$&.mp4']) {
      const { source } = await cache.featuresOf({ ...request, name }, encode);
      expect(source.warnings).toEqual([`'${name}' is damaged or cut short: 3 frames are used.`, `'${name}' is odd.`]);
    }
  });

  test('neither keeps nor shares the features of a video that was exchanged', async () => {
    const { cache } = await cacheWith([]);
    const request = { content: async () => 'content', name: 'a.mp4', identity: 1 };
    let encodings = 0;
    const encode = async () => featuresOf(++encodings);
    const ask = (isSame: boolean) => cache.featuresOf({ ...request, isSame: async () => isSame }, encode);
    const [exchanged, same] = await Promise.all([ask(false), ask(true)]);
    expect([exchanged, same].map(({ global }) => global.data[0])).toEqual([1, 2]);
    expect((await ask(true)).global.data[0]).toBe(2);
    expect(encodings).toBe(2);
  });

  test('whose folder is gone still gives the features', async () => {
    const { ask, place } = await cacheWith([]);
    await rm(place, { recursive: true });
    expect((await ask('one')).value).toBe(1);
    expect(existsSync(place)).toBe(false);
  });
});
