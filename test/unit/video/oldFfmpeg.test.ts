import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readSegments } from '../../../dist/video/frames.js';
import { probeVideo } from '../../../dist/video/probe.js';
import { ffmpeg, folder, h264, make, pattern } from './videoFiles.js';

async function read(video: string, program: string) {
  const info = await probeVideo(video, { ffmpeg: program });
  const frames: unknown[] = [];
  const options = { frames: 4, segmentFrames: 4, geometry: 'source', strategy: 'seek', ffmpeg: program } as const;
  for await (const segment of readSegments(info, options)) frames.push([segment.frameIndices, segment.frames]);
  return { count: info.frameCount, warnings: info.warnings, frames };
}

test.skipIf(process.platform === 'win32')('frames are the same with an ffmpeg of before 4.3', async () => {
  const program = join(folder, 'ffmpeg41');
  // It says that it is old, and has no option `direct` of the filter `metadata`.
  const script = [
    '#!/bin/sh',
    'case "$*" in',
    "  -version) echo 'ffmpeg version 4.1'; echo 'libavcodec     58. 35.100'; exit ;;",
    '  *filter=metadata*) exit ;;',
    '  *direct=1*) echo "[error] Option \'direct\' not found" >&2; exit 1 ;;',
    'esac',
    `exec '${ffmpeg.path}' "$@"`,
  ];
  writeFileSync(program, script.join('\n'));
  chmodSync(program, 0o755);
  const text = '[showinfo@longvlm.0.0 @ 0x1] [info] n:   0 pts:  99 pts_time:9';
  const video = make('old.mp4', ...pattern(4), ...h264, '-g', '25', '-metadata', `comment=${text}`);
  expect(await read(video, program)).toEqual(await read(video, ffmpeg.path));
});
