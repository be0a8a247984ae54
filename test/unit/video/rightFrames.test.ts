import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type ReadSegmentsOptions, readSegments } from '../../../dist/video/frames.js';
import { probeVideo, type VideoInfo } from '../../../dist/video/probe.js';
import { decodeAll, folder, h264, make, passthrough, pattern, run } from './videoFiles.js';

// Videos that mislead about their keyframes, times and frames, compared with a full decode by plain ffmpeg.

const SIZE = 64 * 48 * 3;
const x265 = ['-c:v', 'libx265', '-preset', 'ultrafast', '-x265-params', 'log-level=none:keyint=100:scenecut=0'];
/** A video of 4,100 frames that differ in groups of 100: too long to be decoded when it is probed. */
const long = (name: string, codec: string[]) => {
  const part = make(`part-${name}`, ...pattern(4), ...codec, '-g', '100', '-bf', '2');
  return make(name, '-stream_loop', '40', '-i', part, '-c', 'copy');
};

/** Seconds at which a full decode shows the frames of `path`, in the file's own time. */
function decodedTimes(path: string): number[] {
  const options = [...passthrough, '-enc_time_base', '-1', '-vf', 'scale=16:16', '-c:v', 'rawvideo', '-f', 'framecrc'];
  const text = run('-copyts', '-i', path, '-map', '0:V:0', ...options, '-').toString();
  const [, num, den] = /^#tb 0: (\d+)\/(\d+)/m.exec(text)!;
  return [...text.matchAll(/^0, +-?\d+, +(-?\d+),/gm)].map(([, pts]) => (Number(pts) * Number(num)) / Number(den));
}

async function read(info: VideoInfo, options: Partial<ReadSegmentsOptions>) {
  const all = { frames: 20, segmentFrames: 5, geometry: 'source', ...options } as const;
  const given: { index: number; seconds: number; pixels: Uint8Array }[] = [];
  for await (const { frames, frameIndices, timestamps } of readSegments(info, all))
    for (const [i, index] of frameIndices.entries())
      given.push({ index, seconds: timestamps[i]!, pixels: frames.subarray(i * SIZE, (i + 1) * SIZE) });
  return given;
}

/** Reads frames by seeking, wherever that is possible, and compares their pixels with those of a full decode. */
async function expectRight(path: string, count: number): Promise<VideoInfo> {
  const whole = decodeAll(path);
  const info = await probeVideo(path);
  expect([info.frameCount, whole.length / SIZE]).toEqual([count, count]);
  for (const { index, pixels } of await read(info, { strategy: 'seek' }))
    expect(Buffer.from(pixels).equals(whole.subarray(index * SIZE, (index + 1) * SIZE)), `frame ${index}`).toBe(true);
  return info;
}

/** The strategy by which frames of `info` are read when seeking is asked for. */
async function planned(info: VideoInfo): Promise<string> {
  let strategy = '';
  await read(info, { frames: 5, strategy: 'seek', onPlan: (plan) => (strategy = plan.strategy) });
  return strategy;
}

/** A copy of the MP4 file at `path` with another list of keyframes; without a list, all frames count as keyframes. */
function marked(path: string, name: string, change?: (frame: number) => number): string {
  const bytes = readFileSync(path);
  const box = bytes.indexOf('stss');
  if (change) {
    for (let i = 0; i < bytes.readUInt32BE(box + 8); i++) {
      const at = box + 12 + 4 * i;
      bytes.writeUInt32BE(change(bytes.readUInt32BE(at)), at);
    }
  } else bytes.write('free', box, 'latin1');
  const copy = join(folder, name);
  writeFileSync(copy, bytes);
  return copy;
}

describe('keyframes', () => {
  test.each([
    ['H.264', 'keys.mp4', h264],
    ['HEVC', 'keys5.mp4', x265],
    ['MPEG-4', 'keys4.mp4', ['-c:v', 'mpeg4']],
  ])('of %s in %s are sought', async (_, name, codec) => {
    const info = await expectRight(long(name, codec), 4100);
    // It would decode through after a seek that gave another frame.
    expect(await planned(info)).toBe('seek');
  });

  test.each([
    ['HEVC', 'keys5.mp4', x265],
    ['MPEG-4', 'keys4.mp4', ['-c:v', 'mpeg4']],
  ])('of %s that the container only claims are not believed', async (_, name, codec) => {
    const path = long(name, codec);
    const all = await expectRight(marked(path, `all-${name}`), 4100);
    expect(await planned(all)).toBe('through');
    // The first ones are right, so that only reading can tell.
    const later = (frame: number) => (frame > 101 ? frame + 50 : frame);
    const some = await expectRight(marked(path, `some-${name}`, later), 4100);
    expect(await planned(some)).toBe('through');
  });

  test('of a codec whose decoder believes the container are not sought', async () => {
    const info = await expectRight(make('delta.mov', ...pattern(2), '-c:v', 'qtrle', '-g', '10'), 50);
    expect(await planned(info)).toBe('through');
  });
});

describe('times', () => {
  /** 25 frames a second, from the first one on. */
  const expectEven = async (info: VideoInfo) => {
    const given = await read(info, { frames: 100 });
    const first = given[0]!.seconds;
    expect(first).toBeGreaterThanOrEqual(0);
    for (const { index, seconds } of given) expect(seconds - first, `frame ${index}`).toBeCloseTo(index * 0.04, 3);
  };
  const ms = (expression: string) => [
    '-vf',
    `settb=1/10000,setpts='${expression}'`,
    ...passthrough,
    '-enc_time_base',
    '-1',
  ];
  test.each([
    ['equal for two frames', 'equal.mkv', [...ms('N*400-if(eq(mod(N,10),9),399,0)'), ...h264, '-bf', '0']],
    ['equal and with B-frames', 'equalb.mkv', [...ms('N*400-if(eq(mod(N,10),9),399,0)'), ...h264, '-bf', '2']],
    ['finer than the clock of the container', 'fine.mkv', [...ms('N*4'), ...h264]],
    ['uneven, with one repeat', 'repeat.mkv', [...ms('N*N*4-if(eq(N,60),N*N*4-59*59*4-1,0)'), ...h264]],
  ])('%s are those of the stream', async (_, name, options) => {
    const path = make(name, ...pattern(4), ...options);
    const expected = decodedTimes(path);
    const info = await expectRight(path, 100);
    for (const { index, seconds } of await read(info, { frames: 100 }))
      expect(seconds, `frame ${index}`).toBeCloseTo(expected[index]! - expected[0]!, 6);
    expect(info.durationSeconds).toBeGreaterThan(expected[99]! - expected[0]! - 1e-6);
    expect(info.warnings).toEqual([]);
  });

  test('that start over go on, with a warning', async () => {
    const one = make('one.ts', ...pattern(2), ...h264);
    const path = join(folder, 'again.ts');
    writeFileSync(path, Buffer.concat([readFileSync(one), readFileSync(one)]));
    const info = await expectRight(path, 100);
    await expectEven(info);
    expect(info.durationSeconds).toBeCloseTo(4, 3);
    expect(info.warnings).toEqual([
      expect.stringMatching(/lacks data in one place, as where recordings were joined .*: 100 frames are used/),
      expect.stringMatching(/start over once/),
    ]);
  });

  test('are not below zero', async () => {
    const plain = make('plain.mp4', ...pattern(4), ...h264, '-g', '25');
    const below = ['-output_ts_offset', '-1', '-avoid_negative_ts', 'disabled'];
    const info = await expectRight(make('below.mkv', '-i', plain, '-c', 'copy', ...below), 100);
    await expectEven(info);
  });
});

describe('frames', () => {
  test('that a recorder left out are not counted', async () => {
    // The muxer writes empty packets for frames 1500 to 1502.
    const left = [
      '-vf',
      "select='not(between(n,1500,1502))'",
      ...passthrough,
      '-c:v',
      'huffyuv',
      '-pix_fmt',
      'yuv422p',
    ];
    await expectRight(make('empty.avi', ...pattern(160), ...left), 3997);
  });

  test('of a damaged transport stream are those that a full decode gives, with a warning', async () => {
    const path = make('whole.ts', ...pattern(160), ...h264, '-g', '50');
    const bytes = readFileSync(path);
    const middle = Math.floor(bytes.length / 188 / 2) * 188;
    const damaged = join(folder, 'gaps.ts');
    writeFileSync(damaged, Buffer.concat([bytes.subarray(0, middle), bytes.subarray(middle + 188 * 40)]));
    const count = decodedTimes(damaged).length;
    expect(count).toBeLessThan(4000);
    const info = await expectRight(damaged, count);
    expect(info.warnings[0]).toMatch(/lacks data in one place/);
  });
});
