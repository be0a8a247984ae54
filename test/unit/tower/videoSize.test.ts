import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { videoSize } from '../../../dist/tower/qwen3vl/videoSize.js';
import { qwen3vl } from '../../fixtures/index.js';

type Row = readonly [number, number, number | null, number, number, number, number, number];
const { sizes } = JSON.parse(readFileSync(qwen3vl.sizes, 'utf8')) as { sizes: readonly Row[] };

const cells = { cell: 32, framesPerStep: 2 };

test('frames get the size that transformers gives them', () => {
  const given = sizes.map(([minPixels, maxPixels, cap, frames, width, height]) => {
    const bounds = { ...cells, minPixels, maxPixels, ...(cap !== null && { maxStepTokens: cap }) };
    return videoSize({ frames, width, height }, bounds);
  });
  expect(given).toEqual(sizes.map(([, , , , , , width, height]) => ({ width, height })));
  expect(sizes.length).toBeGreaterThan(200);
});

test('a video that is 201 times as long as wide has no size', () => {
  const bounds = { ...cells, minPixels: 4096, maxPixels: 25_165_824 };
  expect(() => videoSize({ frames: 2, width: 40, height: 40 * 201 }, bounds)).toThrow(
    expect.objectContaining({
      code: 'ERR_LONGVLM_VIDEO',
      message: expect.stringContaining('frames of 40x8040 pixels'),
    }),
  );
  expect(videoSize({ frames: 2, width: 40, height: 8000 }, bounds)).toEqual({ width: 32, height: 8000 });
});
