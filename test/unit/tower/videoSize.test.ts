import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { frameSize, videoSize } from '../../../dist/tower/qwen3vl/videoSize.js';
import { qwen3vl, qwen25vl } from '../../fixtures/index.js';

type Row = readonly [number, number, number | null, number, number, number, number, number];
const sizesIn = (file: string) => (JSON.parse(readFileSync(file, 'utf8')) as { sizes: readonly Row[] }).sizes;
const bySize = ([, , , , , , width, height]: Row) => ({ width, height });

describe('frames get the size that transformers gives them', () => {
  const cells = { cell: 32, framesPerStep: 2 };

  test('of the pixels of a whole video', () => {
    const sizes = sizesIn(qwen3vl.sizes);
    const given = sizes.map(([minPixels, maxPixels, cap, frames, width, height]) => {
      const bounds = { ...cells, minPixels, maxPixels, ...(cap !== null && { maxStepTokens: cap }) };
      return videoSize({ frames, width, height }, bounds);
    });
    expect(given).toEqual(sizes.map(bySize));
    expect(sizes.length).toBeGreaterThan(200);
  });

  test('of the pixels of each frame', () => {
    const sizes = sizesIn(qwen25vl.sizes);
    const given = sizes.map(([minPixels, maxPixels, cap, frames, width, height]) => {
      const bounds = { cell: 28, framesPerStep: 2, minPixels, maxPixels, ...(cap !== null && { maxVideoTokens: cap }) };
      return frameSize({ frames, width, height }, bounds);
    });
    expect(given).toEqual(sizes.map(bySize));
    expect(sizes.length).toBeGreaterThan(200);
  });

  test('where whoever encodes asks for fewer pixels of a frame than the model has', () => {
    // As it would where the model had no more of them.
    const sizes = sizesIn(qwen25vl.sizes).filter(
      ([least, most, cap]) => cap === null && least === 784 && most === 200_704,
    );
    const wide = { cell: 28, framesPerStep: 2, minPixels: 784, maxPixels: 12_845_056 };
    const given = sizes.map(([, maxPixels, , frames, width, height]) =>
      frameSize({ frames, width, height, maxPixels }, wide),
    );
    expect(given).toEqual(sizes.map(bySize));
    const ofVideo = sizesIn(qwen3vl.sizes).filter(([least, , cap]) => cap === null && least === 131_072);
    const asked = ofVideo.map(([minPixels, maxPixels, , frames, width, height]) =>
      videoSize({ frames, width, height, maxPixels: maxPixels / frames }, { ...cells, minPixels, maxPixels: 2e8 }),
    );
    expect(asked).toEqual(ofVideo.map(bySize));
    expect(sizes.length + ofVideo.length).toBeGreaterThan(100);
  });
});

test('frames with fewer pixels than the model has at least are not enlarged to more than is asked for', () => {
  const bounds = { cell: 28, framesPerStep: 2, minPixels: 100_352, maxPixels: 602_112 };
  for (const maxPixels of [1, 784, 5000, 50_000])
    for (const [width, height] of [
      [1920, 1080],
      [40, 30],
      [5, 700],
    ] as const) {
      const size = frameSize({ frames: 4, width, height, maxPixels }, bounds);
      const isLine = size.width === 28 || size.height === 28;
      expect(isLine || size.width * size.height <= maxPixels).toBe(true);
      expect([size.width % 28, size.height % 28]).toEqual([0, 0]);
    }
});

test('a video that is 201 times as long as wide has no size', () => {
  const bounds = { cell: 32, framesPerStep: 2, minPixels: 4096, maxPixels: 25_165_824 };
  for (const sizeOf of [videoSize, frameSize])
    expect(() => sizeOf({ frames: 2, width: 40, height: 40 * 201 }, bounds)).toThrow(
      expect.objectContaining({
        code: 'ERR_LONGVLM_VIDEO',
        message: expect.stringContaining('frames of 40x8040 pixels'),
      }),
    );
  expect(videoSize({ frames: 2, width: 40, height: 8000 }, bounds)).toEqual({ width: 32, height: 8000 });
});
