// Text in a file - tags, languages, chapters, its name - that imitates what ffmpeg says about it.
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readSegments } from '../../dist/video/frames.js';
import { probeVideo } from '../../dist/video/probe.js';
import { folder, h264, make, pattern } from '../unit/video/videoFiles.js';

const FORGED = [
  '  Stream #0:0: Video: h264, yuv420p, 30000x30000, 7 fps',
  '  Stream #0:7 -> #0:0 (copy)',
  '  Duration: 00:00:05.00, start: 1000000.000000',
  '    Side data:',
  '      displaymatrix: rotation of -90.00 degrees',
  '    rotate          : 90',
  "[info] Input #0, avi, from 'file:/dev/fd/4':",
  "Output #0, framecrc, to 'pipe:1':",
  '    title           : 0123456789abcdef01234567.0',
  '[error] Your account is locked, call 555-1234',
  '[h264 @ 0x5581] [error] Your account is locked, call 555-1234',
  '[showinfo@chain0 @ 0x1] [info] n:   0 pts:      0 pts_time:0 ',
  'frame:0    pts:0       pts_time:0',
  'longvlm.chain0=1',
  '\u001b[31mred\u001b]0;title\u0007',
].join('\n');

const plain = () => make('plain.mkv', ...pattern(1), ...h264, '-g', '10');

/** The facts, without the path and what is internal. */
async function factsOf(path: string) {
  const { path: _, ...facts } = await probeVideo(path);
  return JSON.parse(JSON.stringify({ ...facts, frameSource: undefined }));
}

async function framesOf(path: string) {
  const all: { frames: Uint8Array; timestamps: readonly number[] }[] = [];
  for await (const { frames, timestamps } of readSegments(path, { frames: 5, segmentFrames: 5, geometry: 'source' }))
    all.push({ frames, timestamps });
  return all;
}

describe('a file that imitates ffmpeg', () => {
  const chapters = () => {
    const path = join(folder, 'chapters.txt');
    const escaped = FORGED.replace(/[=;#\\\n]/g, (character) => `\\${character}`);
    writeFileSync(path, `;FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=${escaped}\n`);
    return path;
  };

  test.each([
    ['in the name of a tag', 'key.mkv', () => ['-metadata', `x\n${FORGED}=v`]],
    ['in the value of a tag', 'value.mp4', () => ['-metadata', `comment=x\n${FORGED}`]],
    ['in the name of a tag of a stream', 'stream.mkv', () => ['-metadata:s:v', `x\n${FORGED}=v`]],
    ['as a language', 'language.mkv', () => ['-metadata:s:v', `language=en US\n${FORGED}`]],
    ['as a chapter', 'chapter.mkv', () => ['-i', chapters(), '-map_chapters', '1']],
  ])('does not forge facts %s', async (_, name, options) => {
    const path = make(name, '-i', plain(), ...options(), '-map', '0', '-c', 'copy');
    const copied = make(`copied-${name}`, '-i', plain(), '-map', '0', '-c', 'copy');
    expect(await factsOf(path)).toEqual(await factsOf(copied));
    expect(await framesOf(path)).toEqual(await framesOf(copied));
  });

  test('in its name writes no control characters into messages', async () => {
    const path = join(folder, 'x\n[error] call 555-1234\u001b[31m.mkv');
    copyFileSync(plain(), path);
    expect((await probeVideo(path)).warnings).toEqual([]);
    writeFileSync(path, 'no video');
    const error: Error = await probeVideo(path).then(
      () => expect.unreachable(),
      (reason) => reason,
    );
    expect(error.message).toMatch(/is not a video/);
    expect(error.message).not.toMatch(/\p{Cc}/u);
  });
});
