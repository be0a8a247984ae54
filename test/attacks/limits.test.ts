// Small files that claim or unfold much: refused with the name of the limit.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkLimits, type VideoLimits } from '../../dist/video/limits.js';
import { openVideo } from '../../dist/video/openVideo.js';
import { probeVideo } from '../../dist/video/probe.js';
import type { VideoInput } from '../../dist/video/videoInput.js';
import { folder, h264, make, pattern, run } from '../unit/video/videoFiles.js';

const still = (name: string, size: string) => make(name, '-f', 'lavfi', '-i', `color=red:s=${size}`, '-frames:v', '1');
const exceeds = (limit: keyof VideoLimits) => ({
  code: 'ERR_LONGVLM_LIMIT',
  message: expect.stringMatching(new RegExp(`^'.*raise the limit ${limit}\\.$`)),
});

async function read(input: VideoInput, resize: 'crop' | 'pad' | 'squash', limits?: VideoLimits): Promise<number> {
  const video = await openVideo(input, { ...(limits && { limits }) });
  let frames = 0;
  try {
    for await (const segment of video.segments({ frames: 2, segmentFrames: 2, geometry: { resize, size: 32 } }))
      frames += segment.frameIndices.length;
  } finally {
    await video.dispose();
  }
  return frames;
}

describe('pixels', () => {
  test.each(['png', 'jpg', 'gif', 'tga'])('of a .%s above the limit, before it is decoded', async (ending) => {
    const path = still(`wide.${ending}`, '300x200');
    const limits = { maxPixels: 300 * 200 - 1 };
    await expect(read(path, 'squash', limits)).rejects.toMatchObject(exceeds('maxPixels'));
    await expect(read({ frames: [path, still('one.png', '8x8')] }, 'squash', limits)).rejects.toMatchObject(
      exceeds('maxPixels'),
    );
    expect(await probeVideo(path, { limits: { maxPixels: 300 * 200 } })).toMatchObject({ width: 300 });
  });

  test('a header that claims the largest picture there is', async () => {
    const png = Buffer.alloc(33);
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1').copy(png);
    png.writeUInt32BE(13, 8);
    png.write('IHDR', 12);
    png.writeUInt32BE(65_000, 16);
    png.writeUInt32BE(65_000, 20);
    png[24] = 8;
    png[25] = 2;
    await expect(read(png, 'squash')).rejects.toMatchObject({ name: 'LongVLMError' });
  });

  test.each(['crop', 'pad'] as const)('that only resizing (%s) makes many', async (resize) => {
    const path = still('line.png', '2x16000');
    await expect(read(path, resize, { maxPixels: 200_000 })).rejects.toMatchObject(exceeds('maxPixels'));
    expect(await read(path, 'squash', { maxPixels: 200_000 })).toBe(2);
  });

  test('that change within a video', async () => {
    const [small, large] = ['64x48', '320x240'].map((size) =>
      make(`${size}.ts`, ...pattern(1, size), ...h264, '-bsf:v', 'dump_extra'),
    );
    const path = join(folder, 'joined.ts');
    run('-i', `concat:${small}|${large}`, '-c', 'copy', `file:${path}`);
    const info = await probeVideo(path, { limits: { maxPixels: 64 * 48 } }).catch((error: unknown) => error);
    // ffmpeg decodes none of the large ones.
    if (info instanceof Error) expect(info).toMatchObject({ name: 'LongVLMError' });
    else expect(info).toMatchObject({ width: 64, height: 48 });
  });
});

test('more frames than the limit', async () => {
  const path = make('frames.mp4', ...pattern(2), ...h264);
  await expect(probeVideo(path, { limits: { maxFrames: 49 } })).rejects.toMatchObject(exceeds('maxFrames'));
  expect(await probeVideo(path, { limits: { maxFrames: 50 } })).toMatchObject({ frameCount: 50 });
});

test('longer decoding than the limit', async () => {
  const path = make('frames.mp4', ...pattern(2), ...h264);
  await expect(probeVideo(path, { limits: { decodeSeconds: 0 } })).rejects.toMatchObject(exceeds('decodeSeconds'));
});

test.each([
  [{ maxPixels: 0 }, /limits\.maxPixels/],
  [{ maxPixels: 1e12 }, /limits\.maxPixels/],
  [{ maxFrames: 1.5 }, /limits\.maxFrames/],
  [{ decodeSeconds: -1 }, /limits\.decodeSeconds/],
  [{ decodeSeconds: '1' }, /limits\.decodeSeconds/],
  [{ lists: 'yes' }, /limits\.lists/],
  [null, /limits/],
])('rejects the limits %j', (limits, message) => {
  expect(() => checkLimits(limits as VideoLimits)).toThrow(message);
});
