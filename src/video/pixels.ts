import type { FfmpegProcess } from './ffmpegProcess.js';
import type { FrameSizes } from './geometry.js';

/** The options that make ffmpeg write raw RGB pixels, row-major. */
export const rawPixels = ['-c:v', 'rawvideo', '-pix_fmt', 'rgb24', '-f', 'rawvideo', 'pipe:1'];

/** Reads one picture of `sizes` into `target`. False when the output ends before. */
export async function readPixels(ffmpeg: FfmpegProcess, sizes: FrameSizes, target: Uint8Array): Promise<boolean> {
  const { piped, width, height } = sizes;
  if (piped.width === width && piped.height === height) return ffmpeg.take(piped.width * piped.height * 3, target);

  // Nearest neighbour, row by row: `source = floor(target * in / out)`.
  const row = new Uint8Array(piped.width * 3);
  for (let y = 0, next = 0; y < piped.height; y++) {
    const wanted = next < height && Math.floor((next * piped.height) / height) === y;
    if (!(await ffmpeg.take(row.length, wanted ? row : undefined))) return false;
    if (!wanted) continue;
    const start = next * width * 3;
    for (let x = 0; x < width; x++) {
      const from = Math.floor((x * piped.width) / width) * 3;
      const to = start + x * 3;
      target[to] = row[from]!;
      target[to + 1] = row[from + 1]!;
      target[to + 2] = row[from + 2]!;
    }
    for (next++; next < height && Math.floor((next * piped.height) / height) === y; next++)
      target.copyWithin(next * width * 3, start, start + width * 3);
  }
  return true;
}
