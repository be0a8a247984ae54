// Frames as a tower got them, but smaller.
import { Pace } from '../base/pace.js';
import type { Scheduler } from '../base/scheduler.js';
import type { FrameGeometry } from '../video/geometry.js';
import type { Video } from '../video/openVideo.js';
import { toBase64 } from './inspection.js';
import { encodeJpeg, type Picture } from './jpeg.js';

/** A frame: its time, and what it looks like. */
export type Thumbnail = { readonly time: number; readonly picture: Picture; readonly url: string };

/** Which frames, as they were read to be encoded. */
export type Reading = {
  readonly frames: number;
  readonly segmentFrames: number;
  readonly geometry: FrameGeometry;
  readonly start?: number;
  readonly end?: number;
};

/**
 * Reads frames again.
 * @param edge pixels of the longer edge of a thumbnail; frames that are smaller stay as they are
 */
export async function readThumbnails(
  video: Video,
  reading: Reading,
  edge: number,
  signal: AbortSignal | undefined,
  scheduler: Scheduler | undefined,
): Promise<Thumbnail[]> {
  const thumbnails: Thumbnail[] = [];
  const pace = new Pace();
  const read = async () => {
    for await (const { frames, dims, timestamps } of video.segments({ ...reading, ...(signal && { signal }) })) {
      const [, height, width] = dims;
      for (const [index, time] of timestamps.entries()) {
        const data = frames.subarray(index * height * width * 3, (index + 1) * height * width * 3);
        const picture = shrunk({ width, height, data }, edge);
        thumbnails.push({ time, picture, url: `data:image/jpeg;base64,${toBase64(encodeJpeg(picture))}` });
        if (!pace.isDue) continue;
        await pace.rest();
        signal?.throwIfAborted();
      }
    }
  };
  await (scheduler ? scheduler.run('decode', read, signal) : read());
  return thumbnails;
}

/** A picture whose longer edge has at most `edge` pixels: each pixel is the mean of those that it covers. */
export function shrunk({ width, height, data }: Picture, edge: number): Picture {
  const scale = Math.min(1, edge / Math.max(width, height));
  const [columns, rows] = [width, height].map((size) => Math.max(1, Math.round(size * scale))) as [number, number];
  if (scale === 1) return { width, height, data: data.slice() };
  const across = spansOf(width, columns);
  const down = spansOf(height, rows);
  const out = new Uint8Array(columns * rows * 3);
  for (const [row, { from: top, weights: heights }] of down.entries())
    for (const [column, { from: left, weights: widths }] of across.entries()) {
      const sums = [0, 0, 0];
      for (const [y, tall] of heights.entries())
        for (const [x, wide] of widths.entries()) {
          const pixel = ((top + y) * width + left + x) * 3;
          for (let channel = 0; channel < 3; channel++) sums[channel]! += data[pixel + channel]! * tall * wide;
        }
      for (let channel = 0; channel < 3; channel++)
        out[(row * columns + column) * 3 + channel] = Math.round(sums[channel]!);
    }
  return { width: columns, height: rows, data: out };
}

type Span = { readonly from: number; readonly weights: readonly number[] };

/** For each of `count` pixels those of `size` that it covers, and how much each counts: 1 in all. */
function spansOf(size: number, count: number): Span[] {
  const step = size / count;
  return Array.from({ length: count }, (_, index) => {
    const [start, end] = [index * step, Math.min(size, (index + 1) * step)];
    const from = Math.floor(start);
    const weights: number[] = [];
    for (let pixel = from; pixel < end - 1e-9; pixel++)
      weights.push((Math.min(end, pixel + 1) - Math.max(start, pixel)) / (end - start));
    return { from, weights };
  });
}
