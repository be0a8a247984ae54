import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readSegments } from '../../../dist/video/frames.js';
import type { FrameGeometry } from '../../../dist/video/geometry.js';
import { openVideo } from '../../../dist/video/openVideo.js';
import { probeVideo } from '../../../dist/video/probe.js';
import { decodeAll, folder, h264, make, passthrough, pattern, run } from './videoFiles.js';

const ONE = 1 << 16;
const COSINE = Math.round(Math.SQRT1_2 * ONE);

/** A copy of an MP4 file with the matrix `[a b; c d]` in its track's header. */
function withMatrix(path: string, name: string, matrix: readonly number[]): string {
  const bytes = readFileSync(path);
  const [a, b, c, d] = matrix;
  const at = bytes.indexOf('tkhd') + 4 + 40;
  for (const [i, value] of [a!, b!, 0, c!, d!, 0].entries()) bytes.writeInt32BE(value, at + i * 4);
  const copy = join(folder, name);
  writeFileSync(copy, bytes);
  return copy;
}

/** EXIF data that holds only an orientation. */
function exif(orientation: number): Buffer {
  const tiff = Buffer.from('4d4d002a00000008000101120003000000010000000000000000', 'hex');
  tiff.writeUInt16BE(orientation, 18);
  return tiff;
}

/** A copy of a JPEG with that orientation. */
function jpegTurned(path: string, orientation: number): string {
  const bytes = readFileSync(path);
  const data = Buffer.concat([Buffer.from('Exif\0\0'), exif(orientation)]);
  const head = Buffer.from([0xff, 0xd8, 0xff, 0xe1, 0, data.length + 2]);
  const copy = path.replace('.jpg', `-${orientation}.jpg`);
  writeFileSync(copy, Buffer.concat([head, data, bytes.subarray(2)]));
  return copy;
}

/** The first frame at its full size. */
async function firstFrame(path: string) {
  const options = { frames: 1, segmentFrames: 1, end: 0.01, geometry: 'source' as const };
  const { value } = await readSegments(path, { ...options, ...(/g$/.test(path) && { end: undefined }) }).next();
  return { dims: value!.dims.slice(1, 3), pixels: Buffer.from(value!.frames) };
}

async function expectWhatFfmpegShows(path: string, frames: number, shown?: string) {
  const all = decodeAll(path, shown);
  const { value } = await readSegments(path, { frames, segmentFrames: frames, geometry: 'source' }).next();
  const size = value!.frames.length / frames;
  for (const [i, index] of value!.frameIndices.entries()) {
    const got = Buffer.from(value!.frames.subarray(i * size, (i + 1) * size));
    expect(got.equals(all.subarray(index * size, (index + 1) * size))).toBe(true);
  }
}

const upright = () => make('b.mp4', ...pattern(0.2), ...h264);
const photo = () => make('photo.jpg', ...pattern(0.04, '50x30'), '-frames:v', '1');

describe('a display matrix', () => {
  test.each([
    ['no turn', 0, false, [ONE, 0, 0, ONE]],
    ['a quarter', 90, false, [0, ONE, -ONE, 0]],
    ['a half', 180, false, [-ONE, 0, 0, -ONE]],
    ['three quarters', 270, false, [0, -ONE, ONE, 0]],
    ['a mirror', 0, true, [-ONE, 0, 0, ONE]],
    ['a mirror and a quarter', 90, true, [0, -ONE, -ONE, 0]],
    ['a mirror and a half', 180, true, [ONE, 0, 0, -ONE]],
    ['a mirror and three quarters', 270, true, [0, ONE, ONE, 0]],
    ['a quarter, written slightly off', 90, false, [0, ONE - 1, -ONE, 0]],
  ] as const)('of %s shows what ffmpeg shows', async (name, rotation, mirrored, matrix) => {
    const path = withMatrix(upright(), `${name}.mp4`, matrix);
    expect(await probeVideo(path)).toMatchObject({ rotation, mirrored, width: 64, height: 48, warnings: [] });
    const { dims, pixels } = await firstFrame(path);
    expect(dims).toEqual(rotation % 180 === 90 ? [64, 48] : [48, 64]);
    expect(pixels.equals(decodeAll(path).subarray(0, 64 * 48 * 3))).toBe(true);
  });

  test('of any other angle is left to ffmpeg, with a warning', async () => {
    const path = withMatrix(upright(), 'skew.mp4', [COSINE, COSINE, -COSINE, COSINE]);
    expect((await probeVideo(path)).warnings).toEqual([expect.stringMatching(/turned by 45 degrees/)]);
    const { pixels } = await firstFrame(path);
    expect(pixels.equals(decodeAll(path).subarray(0, 64 * 48 * 3))).toBe(true);
  });

  test('mirrors where all turns of the first picture look the same', async () => {
    const black = ['-f', 'lavfi', '-i', 'color=black:s=64x48:r=25:d=0.04'];
    const graph = ['-filter_complex', '[0][1]concat=n=2:v=1[o]', '-map', '[o]'];
    const whole = make('black.mp4', ...black, ...pattern(0.2), ...graph, ...h264);
    const path = withMatrix(whole, 'blackmirror.mp4', [-ONE, 0, 0, ONE]);
    await expectWhatFfmpegShows(path, 5);
  });
});

test('pictures that say themselves how they are turned are shown as ffmpeg shows them', async () => {
  const turn = 'h264_metadata=display_orientation=insert:flip=horizontal';
  const path = make('sei.mp4', '-i', upright(), '-c', 'copy', '-bsf:v', turn);
  expect(await probeVideo(path)).toMatchObject({ rotation: 0, mirrored: true });
  await expectWhatFfmpegShows(path, 4);
});

describe('where pictures change within a video,', () => {
  const small = '32x24';
  const sei = (turn: string) => ['-bsf:v', `h264_metadata=display_orientation=insert:${turn}`];
  /** Some pictures, in a stream that can be joined to others. */
  const part = (name: string, size: string, ...options: string[]) =>
    make(name, ...pattern(0.4, size), ...h264, ...options, '-f', 'mpegts');
  const joined = (name: string, first: string, second: string) => {
    const path = join(folder, name);
    writeFileSync(path, Buffer.concat([readFileSync(first), readFileSync(second)]));
    return path;
  };
  const plain = () => part('plain.ts', '64x48');

  test.each([
    ['a quarter', 90, [0, ONE, -ONE, 0]],
    ['a half', 180, [-ONE, 0, 0, -ONE]],
    ['a mirror and a quarter', 90, [0, -ONE, -ONE, 0]],
  ] as const)('%s turns all sizes', async (name, rotation, matrix) => {
    const both = joined('sizes.ts', plain(), part('small.ts', small, '-output_ts_offset', '0.36'));
    const mp4 = make('sizes.mp4', '-i', both, '-c', 'copy');
    const path = withMatrix(mp4, `sizes ${name}.mp4`, matrix);
    expect(await probeVideo(path)).toMatchObject({ frameCount: 20, rotation });
    await expectWhatFfmpegShows(path, 5, rotation === 90 ? '48:64' : '64:48');
  });

  test.each([
    ['all', sei('rotate=90'), '64x48', sei('rotate=90'), small, '48:64'],
    ['the first', sei('rotate=180'), '64x48', [], '64x48', '64:48'],
    ['later ones', [], '64x48', [...sei('rotate=90'), '-g', '1'], small, '64:48'],
    ['all, each otherwise,', sei('flip=horizontal'), '64x48', sei('flip=vertical'), '64x48', '64:48'],
  ])('%s that say how they are turned are shown so', async (name, first, firstSize, second, secondSize, shown) => {
    const [a, b] = [part(`${name}-1.ts`, firstSize, ...first), part(`${name}-2.ts`, secondSize, ...second)];
    await expectWhatFfmpegShows(joined(`${name}.ts`, a, b), 5, shown);
  });

  test('those that say something else than the container are turned as they say', async () => {
    const says = make('says.mp4', '-i', upright(), '-c', 'copy', ...sei('flip=horizontal'));
    await expectWhatFfmpegShows(withMatrix(says, 'says both.mp4', [-ONE, 0, 0, -ONE]), 5);
  });
});

describe('the EXIF orientation', () => {
  /** ffmpeg's filters for each. */
  const filters = ['null', 'hflip', 'hflip,vflip', 'vflip', 'transpose=0', 'transpose=1', 'transpose=3', 'transpose=2'];
  const filtered = (path: string, orientation: number) =>
    run(
      ...['-noautorotate', '-i', `file:${path}`, ...passthrough],
      ...['-vf', `${filters[orientation - 1]},scale=flags=bicubic,format=rgb24`, '-f', 'rawvideo', '-'],
    );

  test.each([1, 2, 3, 4, 5, 6, 7, 8])('%i of a JPEG turns it', async (orientation) => {
    const path = jpegTurned(photo(), orientation);
    const { dims, pixels } = await firstFrame(path);
    expect(dims).toEqual(orientation > 4 ? [50, 30] : [30, 50]);
    expect(pixels.equals(filtered(path, orientation))).toBe(true);
  });

  test('of a JPEG turns it in a list, too', async () => {
    const path = jpegTurned(photo(), 6);
    const list = await openVideo({ frames: [path, photo()] });
    const geometry: FrameGeometry = { resize: 'squash', size: 20 };
    const alone = await readSegments(path, { frames: 1, segmentFrames: 1, geometry }).next();
    const listed = await list.segments({ frames: 2, segmentFrames: 1, geometry }).next();
    expect(listed.value!.frames).toEqual(alone.value!.frames);
    await list.dispose();
  });

  test('of a PNG turns it, with a word if this ffmpeg would not', async () => {
    const png = readFileSync(make('photo.png', ...pattern(0.04, '50x30'), '-frames:v', '1'));
    const data = exif(6);
    const chunk = Buffer.alloc(12 + data.length);
    chunk.writeUInt32BE(data.length);
    chunk.write('eXIf', 4);
    data.copy(chunk, 8);
    const path = join(folder, 'turned.png');
    // Behind the header; nobody asks for a right checksum.
    writeFileSync(path, Buffer.concat([png.subarray(0, 33), chunk, png.subarray(33)]));
    const { rotation, warnings } = await probeVideo(path);
    expect(rotation).toBe(90);
    expect((await firstFrame(path)).pixels.equals(filtered(path, 6))).toBe(true);
    const byItself = decodeAll(path).equals(filtered(path, 6));
    expect(warnings).toEqual(byItself ? [] : [expect.stringMatching(/EXIF orientation 6/)]);
  });
});
