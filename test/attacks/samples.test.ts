import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { probeVideo } from '../../dist/video/probe.js';
import { manySamples, rewritten, words } from '../fixtures/mp4Boxes.js';
import { folder, h264, make, pattern } from '../unit/video/videoFiles.js';

test.each([
  ['in a few bytes', 0, 'ERR_LONGVLM_VIDEO', /announces more frames than its \d+ bytes can hold/],
  ['in a file filled up', 220_000, 'ERR_LONGVLM_LIMIT', /has more than 50000 frames/],
])('an MP4 that announces 200,000 samples %s is refused', async (_, filling, code, message) => {
  const path = make('one.mp4', ...pattern(0.04), ...h264, '-bf', '0');
  const tables = manySamples(200_000, 2000);
  const small = rewritten(readFileSync(path), (type) => tables[type]);
  const hostile = join(folder, 'millions.mp4');
  writeFileSync(hostile, Buffer.concat([small, words(filling + 8), Buffer.from('free'), Buffer.alloc(filling)]));
  await expect(probeVideo(hostile, { limits: { maxFrames: 50_000 } })).rejects.toMatchObject({
    code,
    message: expect.stringMatching(message),
  });
});
