import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { probeVideo } from '../../dist/video/probe.js';
import { folder, h264, make, pattern } from '../unit/video/videoFiles.js';

const PARENTS = new Set(['moov', 'trak', 'mdia', 'minf', 'stbl', 'edts']);

/** The boxes in `bytes`, of which `change` gives the new contents of those that it knows. */
function rewritten(bytes: Buffer, change: (type: string) => Buffer | undefined): Buffer {
  const boxes: Buffer[] = [];
  for (let at = 0; at + 8 <= bytes.length; at += bytes.readUInt32BE(at)) {
    const type = bytes.toString('latin1', at + 4, at + 8);
    const body = bytes.subarray(at + 8, at + bytes.readUInt32BE(at));
    const content = change(type) ?? (PARENTS.has(type) ? rewritten(body, change) : body);
    const header = Buffer.from(bytes.subarray(at, at + 8));
    header.writeUInt32BE(content.length + 8);
    boxes.push(header, content);
  }
  return Buffer.concat(boxes);
}

function words(...values: number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) buffer.writeUInt32BE(value, i * 4);
  return buffer;
}

test.each([
  ['in a few bytes', 0, 'ERR_LONGVLM_VIDEO', /announces more frames than its \d+ bytes can hold/],
  ['in a file filled up', 220_000, 'ERR_LONGVLM_LIMIT', /has more than 50000 frames/],
])('an MP4 that announces 200,000 samples %s is refused', async (_, filling, code, message) => {
  const path = make('one.mp4', ...pattern(0.04), ...h264, '-bf', '0');
  const [chunks, inChunk] = [100, 2000];
  // All chunks are the same bytes.
  const tables: Record<string, Buffer> = {
    elst: words(0, 0),
    stts: words(0, 1, chunks * inChunk, 1),
    stsz: words(0, 1, chunks * inChunk),
    stsc: words(0, 1, 1, inChunk, 1),
    stco: words(0, chunks, ...new Array<number>(chunks).fill(48)),
  };
  const small = rewritten(readFileSync(path), (type) => tables[type]);
  const hostile = join(folder, 'millions.mp4');
  writeFileSync(hostile, Buffer.concat([small, words(filling + 8), Buffer.from('free'), Buffer.alloc(filling)]));
  await expect(probeVideo(hostile, { limits: { maxFrames: 50_000 } })).rejects.toMatchObject({
    code,
    message: expect.stringMatching(message),
  });
});
