import { frozenCopy } from '../base/frozenCopy.js';
import { readOptions } from '../base/options.js';
import {
  checkFunction,
  checkInteger,
  checkNumber,
  checkObject,
  isCallable,
  isReadable,
  wrongType,
  wrongValue,
} from '../base/validate.js';
import { sampleFrameIndices } from './frameIndices.js';
import type { VideoInfo } from './probe.js';

/** Options of {@link selectFrames}: give exactly one of `frames` and `fps`. */
export type SelectFramesOptions = {
  /** How many frames to take; a multiple of `segmentFrames`. */
  frames?: number;
  /**
   * Frames per second, above 0 and at most 1000, instead of `frames`. The number of frames is rounded to whole segments, at
   * least one.
   */
  fps?: number;
  /** With `fps`: at most this many frames, at least one segment; a longer video gets them evenly. Defaults to no limit. */
  maxFrames?: number;
  /** Number of frames in a segment. */
  segmentFrames: number;
  /** Start of the range to sample, in seconds from the start of the file. Defaults to the first frame. */
  start?: number;
  /** End of the range to sample, exclusive, in seconds from the start of the file. Defaults to the end of the video. */
  end?: number;
};

/** The result of {@link selectFrames}. */
export type FrameSelection = {
  /** Index in the video of each frame, ascending. Frames are repeated if the range has fewer frames than requested. */
  readonly indices: readonly number[];
  /** Number of frames: the length of `indices`. */
  readonly frames: number;
  /** Number of segments. */
  readonly segments: number;
  /** Actual start of the range, in seconds from the start of the file: not before the first frame. */
  readonly startSeconds: number;
  /** Actual end of the range, in seconds from the start of the file: not after the end of the video. */
  readonly endSeconds: number;
};

/** The names of {@link SelectFramesOptions}. */
export const selectionNames = ['frames', 'fps', 'maxFrames', 'segmentFrames', 'start', 'end'] as const;

type Frames = Pick<VideoInfo['frameSource'], 'length' | 'seconds'>;

const MAX_FPS = 1000;
/** ffmpeg rounds the start time of a file to microseconds, so times of frames have the same error. */
const TOLERANCE = 1e-6;

/** @throws TypeError or RangeError if `value` is not valid {@link SelectFramesOptions}. */
export function checkSelection(value: SelectFramesOptions): void {
  const { frames, fps, segmentFrames } = checkObject('options', value);
  checkInteger('segmentFrames', segmentFrames, 1);
  checkRange(value);
  if (fps !== undefined) return;
  checkInteger('frames', frames, 1);
  if (frames! % segmentFrames !== 0) wrongValue('frames', `multiple of segmentFrames (${segmentFrames})`, frames);
}

/** Checks what does not depend on defaults. @throws TypeError or RangeError */
export function checkRange(value: Partial<SelectFramesOptions>): void {
  const { frames, fps, maxFrames, start, end } = value;
  if (maxFrames !== undefined) checkInteger('maxFrames', maxFrames, 1);
  if (frames !== undefined && fps !== undefined) wrongValue('fps', 'nothing, as frames is given,', fps);
  if (fps !== undefined) {
    const expected = `number above 0 and at most ${MAX_FPS}`;
    if (typeof fps !== 'number') wrongType('fps', expected, fps);
    if (!(fps > 0 && fps <= MAX_FPS)) wrongValue('fps', expected, fps);
  }
  if (start !== undefined) checkNumber('start', start, 0);
  if (end !== undefined) checkNumber('end', end, 0);
  if (end !== undefined && end <= (start ?? 0)) wrongValue('end', `number above start (${start ?? 0})`, end);
}

/**
 * Chooses frames of a video, or of a range of it. The frames shown in [start, end) are divided into equal stretches, and the
 * middle of each stretch is taken. Nothing is read, so the number of frames is known before decoding.
 *
 * @param video The result of `probeVideo`.
 * @throws TypeError, RangeError for wrong arguments, and if the range contains no frame.
 * @example selectFrames(await probeVideo('talk.mp4'), { fps: 1, segmentFrames: 10, start: 60, end: 120 }).frames // 60
 */
export function selectFrames(video: VideoInfo, given: SelectFramesOptions): FrameSelection {
  const options = readOptions(given, selectionNames) as SelectFramesOptions;
  checkSelection(options);
  const { frameSource: source, durationSeconds } = checkObject('video', video);
  if (!isReadable(source) || !isCallable(source.seconds)) wrongType('video', 'VideoInfo', video);
  checkNumber('video.durationSeconds', durationSeconds, 0);
  const frameSource: Frames = frozenCopy<Frames>('video.frameSource', source, {
    length: (name, value) => checkInteger(name, value, 1),
    seconds: checkFunction,
  });
  const { fps, maxFrames = Number.POSITIVE_INFINITY, segmentFrames, start, end } = options;
  const videoStart = frameSource.seconds(0);
  const videoEnd = videoStart + durationSeconds;
  const lasts = `the video lasts ${rounded(durationSeconds)} s`;
  const endsAt = videoStart > TOLERANCE ? ` and ends at ${rounded(videoEnd)} s` : '';

  const first = start === undefined ? 0 : firstFrameFrom(frameSource, start);
  const next = end === undefined ? frameSource.length : firstFrameFrom(frameSource, end);
  if (start !== undefined && first === frameSource.length && start >= videoEnd - TOLERANCE)
    throw new RangeError(
      `Expected a time before the end of the video for start but received ${start}: ${lasts}${endsAt}`,
    );
  if (first >= next)
    throw new RangeError(
      `Expected a range with frames for start and end but received ${start ?? 0} to ${end ?? rounded(videoEnd)} s, where no frame begins: ${lasts}${endsAt}`,
    );

  const startSeconds = rounded(Math.max(start ?? videoStart, videoStart));
  const endSeconds = rounded(Math.min(end ?? videoEnd, videoEnd));
  const byRate = (rate: number) => Math.round(((endSeconds - startSeconds) * rate) / segmentFrames);
  const segments =
    fps === undefined
      ? options.frames! / segmentFrames
      : Math.max(1, Math.min(byRate(fps), Math.floor(maxFrames / segmentFrames)));
  const frames = segments * segmentFrames;
  const indices = sampleFrameIndices(next - first, frames).map((index) => first + index);
  return { indices, frames, segments, startSeconds, endSeconds };
}

/** The first frame that is shown at `seconds` or later; the number of frames if there is none. */
function firstFrameFrom(source: Frames, seconds: number): number {
  let low = 0;
  let high = source.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (source.seconds(middle) < seconds - TOLERANCE) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** To microseconds, without a negative zero. */
function rounded(seconds: number): number {
  return Math.round(seconds * 1e6) / 1e6 + 0;
}
