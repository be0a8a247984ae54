// What LongVLM's two ideas are compared with: other ways to few tokens, and one kind of token without the other.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { float32Tensor } from '../../dist/base/tensor.js';
import { LongVLM, readSegments, VideoFeatures, VisionEncoder } from '../../dist/index.js';
import { frameGeometry } from '../../dist/tower/pixels.js';
import { pico, picoOptions, relativeError } from '../fixtures/index.js';
import { normalizeFrames } from '../fixtures/vision/normalize.js';

const { T, K, E } = pico.expected.config;
const S = T / K;
const M = pico.tokensPerSegment;
const N = 16;
const C = 64;
const P = K * N;
const folder = mkdtempSync(path.join(tmpdir(), 'longvlm-ablations-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Every patch of the video [T·N, C], from the tower itself. */
let patches: Float32Array;

beforeAll(async () => {
  const encoder = await VisionEncoder.create({ path: pico.clip, globalLayers: E, threads: 1 });
  try {
    const { config } = encoder;
    const pixels = new Float32Array(T * 3 * config.imageSize ** 2);
    const options = { frames: T, segmentFrames: K, geometry: frameGeometry(config, 'crop') };
    for await (const { frames, index } of readSegments(pico.video, options))
      normalizeFrames(frames, pixels.subarray((index * pixels.length) / S), config.imageSize, config);
    const size = config.imageSize;
    patches = (await encoder.forward(float32Tensor(pixels, [T, 3, size, size]))).patches.data;
  } finally {
    await encoder.dispose();
  }
});

async function withModel<Result>(options: object, use: (vlm: LongVLM) => Promise<Result>): Promise<Result> {
  const vlm = await LongVLM.load({ ...picoOptions, ...options });
  try {
    return await use(vlm);
  } finally {
    await vlm.dispose();
  }
}

// Float32 sums of up to 14 patches here, float64 there. Seen: 9e-8.
const tolerance = 1e-6;

describe('LongVLM.encode() with another reduction', () => {
  test('pool gives the means of consecutive patches', async () => {
    const features = await withModel({ reduction: 'pool' }, (vlm) => vlm.encode(pico.video));
    const wanted = new Float32Array(S * M * C);
    for (let token = 0; token < S * M; token++) {
      const start = Math.floor(token / M) * P;
      const from = start + Math.floor(((token % M) * P) / M);
      const to = start + Math.floor((((token % M) + 1) * P) / M);
      expect(features.sizes.data[token]).toBe(to - from);
      for (let patch = from; patch < to; patch++)
        for (let channel = 0; channel < C; channel++)
          wanted[token * C + channel]! += patches[patch * C + channel]! / (to - from);
    }
    expect(relativeError(features.local.data, wanted)).toBeLessThan(tolerance);
    expect(features.sampling.reduction).toBe('pool');
  });

  test('subsample gives single patches', async () => {
    const features = await withModel({ reduction: 'subsample' }, (vlm) => vlm.encode(pico.video));
    const wanted = Array.from({ length: S * M }, (_, token) => {
      const patch = Math.floor(token / M) * P + Math.floor((((token % M) + 0.5) * P) / M);
      return [...patches.subarray(patch * C, (patch + 1) * C)];
    }).flat();
    expect(relativeError(features.local.data, wanted)).toBeLessThan(tolerance);
    expect([...features.sizes.data]).toEqual(Array(S * M).fill(1));
  });

  test('neither changes the global tokens, and a file remembers which it was', async () => {
    const merged = await withModel({}, (vlm) => vlm.encode(pico.video));
    const pooled = await withModel({ reduction: 'pool' }, (vlm) => vlm.encode(pico.video));
    expect(pooled.global).toEqual(merged.global);
    expect(relativeError(pooled.local.data, merged.local.data)).toBeGreaterThan(0.01);
    const file = path.join(folder, 'pooled.safetensors');
    await pooled.save(file);
    expect(await VideoFeatures.load(file)).toEqual(pooled);
  });
});

describe('one part of the video', () => {
  test('is what the projector and the language model are given', async () => {
    await withModel({}, async (vlm) => {
      const features = await vlm.encode(pico.video);
      const both = await vlm.project(features);
      const global = await vlm.project(features, { part: 'global' });
      const local = await vlm.project(features, { part: 'local' });
      expect([global.dims, local.dims, both.dims]).toEqual([
        [E, 64],
        [S * M, 64],
        [E + S * M, 64],
      ]);
      expect(relativeError([...global.data, ...local.data], both.data)).toBeLessThan(tolerance);
      for (const [part, tokens] of [
        ['both', E + S * M],
        ['global', E],
        ['local', S * M],
      ] as const) {
        expect([features.tokenCountOf(part), vlm.tokenCountOf(part)]).toEqual([tokens, tokens]);
        const chat = await vlm.chat(features, { part });
        expect(chat.videoTokens).toBe(tokens);
        await chat.dispose();
      }
    });
  });

  test('changes the answer, and what fits into a context', async () => {
    await withModel({}, async (vlm) => {
      const features = await vlm.encode(pico.video);
      const { question } = pico.expected.prompt;
      const answers = [];
      for (const part of ['both', 'global', 'local'] as const)
        answers.push((await vlm.ask(features, question, { part, temperature: 0, maxTokens: 8 })).text);
      expect(new Set(answers).size).toBe(3);
      // 125 tokens are just enough for both parts.
      expect(() => vlm.checkQuestion(question, { contextSize: 124 })).toThrow(/124 tokens/);
      expect(() => vlm.checkQuestion(question, { part: 'local', contextSize: 125 - E })).not.toThrow();
      expect(() => vlm.checkQuestion(question, { part: 'local', contextSize: 124 - E })).toThrow(/119 tokens/);
    });
  });

  test('is refused where it is none', async () => {
    await withModel({}, async (vlm) => {
      const part = 'neither' as never;
      const refused = { name: 'RangeError', message: expect.stringContaining('one of both, local, global for part') };
      await expect(vlm.chat('none.mp4', { part })).rejects.toMatchObject(refused);
      await expect(vlm.ask('none.mp4', 'q', { part })).rejects.toMatchObject(refused);
    });
  });
});
