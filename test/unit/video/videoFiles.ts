// Makes small videos with ffmpeg, and decodes them in the plainest way to compare with.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';
import { findFfmpeg } from '../../../dist/video/ffmpeg.js';

const fixtures = fileURLToPath(new URL('../../fixtures/pico/', import.meta.url));
/** 252 frames of 128 by 96, four scenes. */
export const picoVideo = join(fixtures, 'video.mp4');

/** The ffmpeg that the tests run. */
export const ffmpeg = await findFfmpeg();
/** Options that keep frames as they are, evenly spaced or not. */
export const { passthrough } = ffmpeg;

/** A folder of this test file's own; it goes when the tests are done. */
export const folder = mkdtempSync(join(tmpdir(), 'longvlm-video-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs ffmpeg in {@link folder}. */
export function run(...args: string[]): Buffer {
  return execFileSync(ffmpeg.path, ['-nostdin', '-v', 'error', '-y', ...args], {
    cwd: folder,
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

const made = new Set<string>();

/** Makes `name` once by the options `args` and returns its path. `{}` stands for the output's name. */
export function make(name: string, ...args: string[]): string {
  const path = join(folder, name);
  if (!made.has(name)) run(...args, `file:${path}`);
  made.add(name);
  return path;
}

/** Moving, colourful content: no two frames are equal. */
export function pattern(seconds: number, size = '64x48', rate = 25): string[] {
  return ['-f', 'lavfi', '-i', `testsrc2=s=${size}:r=${rate}:d=${seconds}`];
}

export const h264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-pix_fmt', 'yuv420p'];

/**
 * Every frame of `path` as it is shown, in RGB, by one ffmpeg from beginning to end.
 *
 * @param size As in `64:48`, for a video whose pictures change their size.
 */
export function decodeAll(path: string, size?: string): Buffer {
  const resized = size === undefined ? '' : `,scale=${size}:flags=neighbor`;
  const rgb = ['-vf', `scale=flags=bicubic,format=rgb24${resized}`, '-f', 'rawvideo', '-'];
  return run('-i', `file:${path}`, '-map', '0:V:0', ...passthrough, ...rgb);
}

/**
 * A copy of the MP4 file at `path` to be displayed turned clockwise: writes the matrix in its track's header, as options
 * for it differ between versions of ffmpeg.
 */
export function turned(path: string, degrees: 90 | 180 | 270): string {
  const bytes = readFileSync(path);
  const one = 1 << 16;
  const [cos, sin] = ({ 90: [0, one], 180: [-one, 0], 270: [0, -one] } as const)[degrees];
  const matrix = bytes.indexOf('tkhd') + 4 + 40;
  for (const [i, value] of [cos, sin, 0, -sin, cos].entries())
    bytes.writeInt32BE(value === 0 ? 0 : value, matrix + i * 4);
  const copy = path.replace('.mp4', `-${degrees}.mp4`);
  writeFileSync(copy, bytes);
  return copy;
}

/** A tensor of the reference's data. */
export function expected(name: string): { dims: number[]; data: Uint8Array } {
  const file = readFileSync(join(fixtures, 'expected.safetensors'));
  const start = 8 + Number(file.readBigUInt64LE());
  const { shape, data_offsets } = JSON.parse(file.toString('utf8', 8, start))[name];
  return { dims: shape, data: Uint8Array.from(file.subarray(start + data_offsets[0], start + data_offsets[1])) };
}
