import { checkInteger } from '../base/validate.js';

/** More are not needed of any video, and their numbers would not fit into memory. */
const mostFrames = 2 ** 24;

/** Rounds to the nearest integer, ties to even, as NumPy does. */
function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/**
 * The frames that LongVLM samples: the middles of `frames` equal stretches of a video.
 *
 * A video with fewer than `frames` frames repeats them.
 *
 * @param total The number of frames in the video, at least 1.
 * @param frames How many frames to take, from 1 to 2^24.
 * @returns `frames` indices below `total`, in ascending order.
 * @throws TypeError or RangeError if an argument is no such integer.
 */
export function sampleFrameIndices(total: number, frames: number): number[] {
  checkInteger('total', total, 1);
  checkInteger('frames', frames, 1, mostFrames);
  if (total < frames) return Array.from({ length: frames }, (_, i) => Math.floor((i * total) / frames));
  const stretch = (total - 1) / frames;
  return Array.from({ length: frames }, (_, i) =>
    Math.floor((roundHalfToEven(stretch * i) + roundHalfToEven(stretch * (i + 1))) / 2),
  );
}
