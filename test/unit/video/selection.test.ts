import { describe, expect, test } from 'vitest';
import { sampleFrameIndices } from '../../../dist/video/frameIndices.js';
import { type FrameSegment, readSegments } from '../../../dist/video/frames.js';
import { probeVideo } from '../../../dist/video/probe.js';
import { selectFrames } from '../../../dist/video/selection.js';
import { decodeAll, h264, make, pattern, picoVideo } from './videoFiles.js';

/** 252 frames at 12.5 a second: 20.16 s. */
const pico = await probeVideo(picoVideo);
/** Two minutes and a half at 10 frames a second, with a keyframe every 2 s. */
const long = () => make('minutes.mp4', ...pattern(150, '64x48', 10), ...h264, '-bf', '2', '-g', '20');

describe('selectFrames()', () => {
  test('takes the whole video as sampleFrameIndices() does', () => {
    const chosen = selectFrames(pico, { frames: 20, segmentFrames: 5 });
    const indices = sampleFrameIndices(252, 20);
    expect(chosen).toEqual({ indices, frames: 20, segments: 4, startSeconds: 0, endSeconds: 20.16 });
    expect(selectFrames(pico, { frames: 20, segmentFrames: 5, start: 0, end: 100 })).toEqual(chosen);
  });

  test('takes the frames at start and later, and before end', () => {
    // Frames 50 to 99 are shown at 4.00 to 7.92 s.
    const chosen = selectFrames(pico, { frames: 50, segmentFrames: 10, start: 4, end: 8 });
    expect(chosen).toMatchObject({ segments: 5, startSeconds: 4, endSeconds: 8 });
    expect(chosen.indices).toEqual(sampleFrameIndices(50, 50).map((index) => index + 50));
    const one = (start: number, end: number) => selectFrames(pico, { frames: 1, segmentFrames: 1, start, end }).indices;
    expect(one(4, 4.08)).toEqual([50]);
    expect(one(3.93, 4.01)).toEqual([50]);
    expect(one(20.08, 99)).toEqual([251]);
  });

  test('repeats the frames of a part that has too few', () => {
    const { indices } = selectFrames(pico, { frames: 8, segmentFrames: 4, start: 4, end: 4.24 });
    expect(indices).toEqual([50, 50, 50, 51, 51, 51, 52, 52]);
  });

  test.each([
    // 20.16 s: 20.16 frames are 2.016 segments, 40.32 are 4.032, 24.2 are 2.42, 26.2 are 2.62.
    [{ fps: 1 }, 20],
    [{ fps: 2 }, 40],
    [{ fps: 1.2 }, 20],
    [{ fps: 1.3 }, 30],
    [{ fps: 0.01 }, 10],
    [{ fps: 1, start: 4, end: 19 }, 20],
    [{ fps: 1, start: 4, end: 18.9 }, 10],
    [{ fps: 1, start: 15, end: 1000 }, 10],
    [{ fps: 10, start: 20, end: 1000 }, 10],
  ])('rounds the frames of %j to %i, whole segments of 10', (options, frames) => {
    const chosen = selectFrames(pico, { ...options, segmentFrames: 10 });
    expect(chosen).toMatchObject({ frames, segments: frames / 10 });
    expect(chosen.indices).toHaveLength(frames);
  });

  test('takes what sticks out of the video for its ends', () => {
    const chosen = selectFrames(pico, { frames: 1, segmentFrames: 1, start: 15.5, end: 1000 });
    expect(chosen).toMatchObject({ startSeconds: 15.5, endSeconds: 20.16 });
  });

  test('counts from the start of the file where pictures start later than sound', async () => {
    const sound = ['-f', 'lavfi', '-i', 'sine=d=4'];
    const path = make(
      'late.mkv',
      ...sound,
      '-itsoffset',
      '1.5',
      ...pattern(2),
      '-map',
      '0',
      '-map',
      '1',
      ...h264,
      '-c:a',
      'pcm_s16le',
    );
    const info = await probeVideo(path);
    const whole = selectFrames(info, { fps: 1, segmentFrames: 1 });
    expect(whole.startSeconds).toBeCloseTo(1.52, 6);
    expect(whole.endSeconds).toBeCloseTo(3.52, 6);
    expect(whole.frames).toBe(2);
    const part = selectFrames(info, { frames: 50, segmentFrames: 50, start: 2.515, end: 3.515 });
    expect(part.indices[0]).toBe(25);
    expect(part.indices.at(-1)).toBe(49);
    expect(() => selectFrames(info, { frames: 1, segmentFrames: 1, start: 0.5, end: 1 })).toThrow(/no frame begins/);
    expect(() => selectFrames(info, { frames: 1, segmentFrames: 1, start: 4 })).toThrow(
      /lasts 2 s and ends at 3\.52 s/,
    );
  });

  test('takes the frame at start although ffmpeg rounds the start of the file', async () => {
    // 30 frames a second in a transport stream begin at 1.466667, which ffmpeg rounds: frame 60 is at 1.9999997 s.
    const path = make('rounded.ts', ...pattern(4, '64x48', 30), ...h264, '-g', '30');
    const info = await probeVideo(path);
    expect(selectFrames(info, { frames: 1, segmentFrames: 1, start: 2, end: 2.03 }).indices).toEqual([60]);
    expect(selectFrames(info, { frames: 1, segmentFrames: 1 })).toMatchObject({ startSeconds: 0, endSeconds: 4 });
  });

  test('rejects parts without frames, with the duration', () => {
    const choose = (options: object) => () => selectFrames(pico, { frames: 10, segmentFrames: 10, ...options });
    const outside = /before the end of the video for start but received 60: the video lasts 20\.16 s/;
    expect(choose({ start: 60, end: 120 })).toThrow(outside);
    expect(choose({ start: 60, end: 120 })).toThrow(RangeError);
    expect(choose({ start: 20.16 })).toThrow(/for start but received 20\.16/);
    expect(choose({ start: 4.01, end: 4.07 })).toThrow(/received 4\.01 to 4\.07 s, where no frame begins.*20\.16 s/);
    expect(choose({ start: 4.01, end: 4.07 })).toThrow(RangeError);
    expect(choose({ start: 8, end: 4 })).toThrow(/number above start \(8\) for end but received 4/);
    expect(choose({ end: 0 })).toThrow(RangeError);
    expect(choose({ start: Number.NaN })).toThrow(RangeError);
    expect(choose({ start: '60' })).toThrow(TypeError);
    expect(choose({ frames: undefined, fps: 1001 })).toThrow(/above 0 and at most 1000 for fps but received 1001/);
  });
});

describe('readSegments() of a part', () => {
  test.each(['auto', 'seek', 'through'] as const)('gives its frames alone (%s)', async (strategy) => {
    const path = long();
    const all = decodeAll(path);
    const size = 64 * 48 * 3;
    let decodedFrames = 0;
    const segments: FrameSegment[] = [];
    const options = { fps: 0.5, segmentFrames: 10, start: 60, end: 120, geometry: 'source', strategy } as const;
    const onPlan = (plan: { decodedFrames: number }) => {
      decodedFrames = plan.decodedFrames;
    };
    for await (const segment of readSegments(path, { ...options, onPlan })) segments.push(segment);
    const indices = segments.flatMap(({ frameIndices }) => frameIndices);
    expect(indices).toEqual(sampleFrameIndices(600, 30).map((index) => index + 600));
    expect(segments.flatMap(({ timestamps }) => timestamps.map((time) => Math.round(time * 10)))).toEqual(indices);
    const pixels = Buffer.concat(segments.map(({ frames }) => frames));
    for (const [slot, index] of indices.entries())
      expect(pixels.compare(all, index * size, (index + 1) * size, slot * size, (slot + 1) * size)).toBe(0);
    // All before the end of the part is 1200 frames, the part 600.
    if (strategy === 'through') expect(decodedFrames).toBeGreaterThan(1100);
    else expect(decodedFrames).toBeLessThan(650);
  });

  test('rejects a part after the end when it is iterated', async () => {
    const options = { frames: 1, segmentFrames: 1, start: 60, geometry: 'source' } as const;
    await expect(readSegments(picoVideo, options).next()).rejects.toThrow(RangeError);
  });
});
