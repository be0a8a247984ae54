// Files that are no videos or damaged, and work that ends before its time: one clear error, and no ffmpeg left.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Progress } from '../../../dist/base/progress.js';
import { sampleFrameIndices } from '../../../dist/video/frameIndices.js';
import { readSegments } from '../../../dist/video/frames.js';
import { probeVideo } from '../../../dist/video/probe.js';
import { children, running } from '../../fixtures/processes.js';
import { ffmpeg, folder, h264, make, passthrough, pattern, picoVideo, run } from './videoFiles.js';

const onLinux = process.platform === 'linux';
const source = { frames: 12, segmentFrames: 4, geometry: 'source' } as const;
/** Long enough that it is never read to the end: 20 s of 640 by 360. */
const long = () => make('long.mkv', ...pattern(20, '640x360'), ...h264, '-preset', 'ultrafast', '-g', '50');

async function readAll(path: string): Promise<number[]> {
  const indices: number[] = [];
  for await (const { frameIndices } of readSegments(path, source)) indices.push(...frameIndices);
  return indices;
}

/** `path` cut to `share` of its length, in `name`. */
function cut(path: string, name: string, share: number): string {
  const copy = join(folder, name);
  const bytes = readFileSync(path);
  writeFileSync(copy, bytes.subarray(0, Math.floor(bytes.length * share)));
  return copy;
}

function write(name: string, content: string | Buffer): string {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
}

/**
 * An ffmpeg whose run number `number`, not counting the one that asks for its version, never ends. `reached` fulfils when
 * it has started: it writes to a pipe that this reads.
 */
function stallingFfmpeg(number: number): { wrapper: string; reached: Promise<unknown> } {
  const [count, pipe] = [join(folder, `count-${number}`), join(folder, `pipe-${number}`)];
  execFileSync('mkfifo', [pipe]);
  const wrapper = write(
    `ffmpeg-${number}`,
    `#!/bin/sh
case "$*" in *-version*) exec "${ffmpeg.path}" "$@" ;; esac
echo >> "${count}"
if [ "$(wc -l < "${count}")" -ge ${number} ]; then echo > "${pipe}"; exec "${ffmpeg.path}" -v quiet -re -f lavfi -i anullsrc -f null -; fi
exec "${ffmpeg.path}" "$@"
`,
  );
  chmodSync(wrapper, 0o755);
  return { wrapper, reached: readFile(pipe) };
}

afterEach(() => {
  if (onLinux) expect(children()).toEqual([]);
});

describe('probeVideo() and readSegments() reject', () => {
  test.each<[string, () => string, string, RegExp]>([
    ['a missing file', () => join(folder, 'none.mp4'), 'ERR_LONGVLM_FILE', /none\.mp4': there is no such file\. Check/],
    ['a directory', () => folder, 'ERR_LONGVLM_FILE', /it is a directory\. Give the path of a video file/],
    ['an empty file', () => write('empty.mp4', ''), 'ERR_LONGVLM_VIDEO', /empty\.mp4' is empty, 0 bytes/],
    [
      'a video of no length',
      () => make('nothing.mp4', ...pattern(1), '-frames:v', '0', ...h264),
      'ERR_LONGVLM_VIDEO',
      /nothing\.mp4' holds no video stream/,
    ],
    [
      'text',
      () => write('text.mp4', 'no video\n'.repeat(500)),
      'ERR_LONGVLM_VIDEO',
      /is not a video that ffmpeg can read/,
    ],
    [
      'an MP4 cut before its index',
      () => cut(picoVideo, 'cut.mp4', 0.5),
      'ERR_LONGVLM_VIDEO',
      /moov atom not found.*incomplete: copy or download/,
    ],
    [
      'sound',
      () => make('sound.m4a', '-f', 'lavfi', '-i', 'sine=d=0.2'),
      'ERR_LONGVLM_VIDEO',
      /no video stream, only sound/,
    ],
    [
      'sound with a cover',
      () => {
        const cover = make('cover.png', ...pattern(0.04), '-frames:v', '1');
        const sound = make('sound.m4a', '-f', 'lavfi', '-i', 'sine=d=0.2');
        return make(
          'cover.m4a',
          '-i',
          sound,
          '-i',
          cover,
          '-map',
          '0',
          '-map',
          '1',
          '-c',
          'copy',
          '-disposition:v',
          'attached_pic',
        );
      },
      'ERR_LONGVLM_VIDEO',
      /no video stream, only sound/,
    ],
    [
      'a codec that no ffmpeg knows',
      () => {
        const bytes = readFileSync(make('tagged.mp4', ...pattern(0.2), ...h264));
        bytes.write('zzzz', bytes.indexOf('avc1', bytes.indexOf('stsd')));
        return write('unknown.mp4', bytes);
      },
      'ERR_LONGVLM_VIDEO',
      /unknown\.mp4/,
    ],
  ])('%s', async (_, file, code, message) => {
    const path = file();
    const error = { name: 'LongVLMError', code, message: expect.stringMatching(message) };
    await expect(probeVideo(path)).rejects.toMatchObject(error);
    await expect(readAll(path)).rejects.toMatchObject(error);
  });

  test.skipIf(process.getuid?.() === 0 || process.platform === 'win32')('a file without permission', async () => {
    const path = write('closed.mp4', 'x');
    chmodSync(path, 0);
    await expect(probeVideo(path)).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE' });
  });

  test('wrong arguments, at once', () => {
    const read = (options: object) => () => readSegments('a.mp4', { ...source, ...options });
    expect(read({ frames: 10, segmentFrames: 4 })).toThrow(
      /multiple of segmentFrames \(4\) for frames but received 10/,
    );
    expect(read({ frames: 10, segmentFrames: 4 })).toThrow(RangeError);
    expect(read({ frames: 0 })).toThrow(RangeError);
    expect(read({ segmentFrames: '4' })).toThrow(TypeError);
    expect(read({ geometry: 'full' })).toThrow(/'source' or an object for geometry but received 'full'/);
    expect(read({ geometry: undefined })).toThrow(TypeError);
    expect(read({ geometry: { resize: 'fit', size: 4 } })).toThrow(/one of crop, squash, pad for geometry.resize/);
    expect(read({ geometry: { resize: 'crop', size: 8, shortestEdge: 7 } })).toThrow(RangeError);
    expect(read({ geometry: { resize: 'pad', size: 8, padColor: [1, 2] } })).toThrow(/array of 3 integers/);
    expect(read({ geometry: { resize: 'pad', size: 8, padColor: [1, 2, 256] } })).toThrow(RangeError);
    expect(read({ strategy: 'fast' })).toThrow(/one of auto, seek, through for strategy/);
    expect(read({ onProgress: 1 })).toThrow(TypeError);
    expect(read({ frames: undefined })).toThrow(/positive integer for frames but received undefined/);
    expect(read({ fps: 1 })).toThrow(/nothing, as frames is given, for fps but received 1/);
    expect(read({ frames: undefined, fps: 0 })).toThrow(RangeError);
    expect(read({ frames: undefined, fps: '1' })).toThrow(TypeError);
    expect(read({ start: -1 })).toThrow(/number of at least 0 for start but received -1/);
    expect(read({ start: 5, end: 5 })).toThrow(/number above start \(5\) for end but received 5/);
    expect(() => readSegments({} as never, source)).toThrow(/path or a result of probeVideo/);
    expect(() => readSegments('a.mp4', undefined as never)).toThrow(TypeError);
  });
});

describe('a damaged file', () => {
  test.each([
    ['Matroska', 'cut.mkv', ['-f', 'matroska']],
    ['MP4 with its index in front', 'cutfront.mp4', ['-movflags', '+faststart']],
  ])('cut in the middle is read as far as it goes: %s', async (_, name, args) => {
    const whole = make(`whole-${name}`, ...pattern(8), ...h264, '-bf', '2', '-g', '20', ...args);
    const path = cut(whole, name, 0.6);
    const { frameCount, durationSeconds, warnings } = await probeVideo(path);
    expect(frameCount).toBeGreaterThan(80);
    expect(frameCount).toBeLessThan(160);
    expect(warnings).toHaveLength(1);
    const used = `${frameCount} frames, ${durationSeconds.toFixed(1)} of the 8.0 s that it announces,`;
    expect(warnings[0]).toMatch(new RegExp(`damaged or cut short .*: ${used} are used`));
    const indices = await readAll(path);
    const wanted = sampleFrameIndices(frameCount, 12);
    // Of the last packet, half is missing: the frame before it may stand for it.
    expect(indices.slice(0, 11)).toEqual(wanted.slice(0, 11));
    expect(wanted[11]! - indices[11]!).toBeLessThan(3);
  });

  /** A video of 4,000 frames, too long to be decoded completely when it is probed, with a fifth overwritten. */
  function spoiled(name: string, codec: readonly string[]): string {
    const bytes = readFileSync(
      make(`whole-${name}`, ...pattern(160), ...codec, '-bf', '2', '-g', '20', '-movflags', '+faststart'),
    );
    const data = bytes.indexOf('mdat');
    const from = data + Math.floor((bytes.length - data) * 0.4);
    const to = data + Math.floor((bytes.length - data) * 0.6);
    for (let i = from; i < to; i++) bytes[i] = (i * 7919) & 255;
    return write(name, bytes);
  }

  test('of H.264 has the frames that a decoder shows', async () => {
    const path = spoiled('spoiled264.mp4', h264);
    const shown = run('-i', path, ...passthrough, '-c:v', 'rawvideo', '-f', 'framecrc', '-').toString();
    const { frameCount, warnings } = await probeVideo(path);
    expect(frameCount).toBe(shown.match(/^0,/gm)!.length);
    expect(warnings[0]).toMatch(/is damaged .*missing picture/);
  });

  test('gives earlier frames for those that cannot be decoded', async () => {
    const damaged = spoiled('spoiled4.mp4', ['-c:v', 'mpeg4']);
    const { frameCount } = await probeVideo(damaged);
    expect(frameCount).toBe(4000);
    const indices = await readAll(damaged);
    const wanted = sampleFrameIndices(4000, 12);
    expect(indices.every((index, i) => index <= wanted[i]!)).toBe(true);
    expect(indices).not.toEqual(wanted);
    // Before and after the damage all is well.
    expect([...indices.slice(0, 4), ...indices.slice(9)]).toEqual([...wanted.slice(0, 4), ...wanted.slice(9)]);
  });

  test('becomes shorter after it was probed', async () => {
    const path = cut(make('whole.mkv', ...pattern(8), ...h264, '-g', '20'), 'shrinking.mkv', 1);
    const info = await probeVideo(path);
    truncateSync(path, 100);
    const reading = readSegments(info, source).next();
    await expect(reading).rejects.toMatchObject({
      code: 'ERR_LONGVLM_VIDEO',
      message: expect.stringMatching(/shrinking\.mkv' cannot be decoded/),
    });
  });
});

test('a playlist cannot reach the network', async () => {
  let asked = 0;
  const server = createServer((_, response) => {
    asked++;
    response.end();
  });
  await new Promise<void>((fulfil) => server.listen(0, '127.0.0.1', fulfil));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/a.ts`;
  try {
    for (const [name, text] of [
      ['list.m3u8', `#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n${url}\n#EXT-X-ENDLIST\n`],
      ['list.mp4', `#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n${url}\n#EXT-X-ENDLIST\n`],
      ['concat.mp4', `ffconcat version 1.0\nfile ${url}\n`],
    ] as const)
      await expect(probeVideo(write(name, text))).rejects.toMatchObject({ code: 'ERR_LONGVLM_VIDEO' });
    expect(asked).toBe(0);
  } finally {
    await new Promise((fulfil) => server.close(fulfil));
  }
});

describe.runIf(onLinux)('no ffmpeg stays behind', () => {
  test('when aborted before the start', async () => {
    const reason = new Error('no more');
    const options = { ...source, signal: AbortSignal.abort(reason) };
    await expect(probeVideo(picoVideo, { signal: options.signal })).rejects.toBe(reason);
    await expect(readSegments(picoVideo, options).next()).rejects.toBe(reason);
  });

  test.each([1, 2, 3])('when aborted while it is probed, in ffmpeg number %i', async (number) => {
    const controller = new AbortController();
    const reason = new Error('no more');
    const { wrapper, reached } = stallingFfmpeg(number);
    const probing = expect(probeVideo(picoVideo, { ffmpeg: wrapper, signal: controller.signal })).rejects.toBe(reason);
    await reached;
    expect(children().length).toBeGreaterThan(0);
    controller.abort(reason);
    await probing;
    expect(children()).toEqual([]);
  });

  test.each(['seek', 'through'] as const)('when aborted inside a segment (%s)', async (strategy) => {
    const controller = new AbortController();
    const reason = { any: 'value' };
    const onProgress = ({ done }: Progress) => done === 6 && controller.abort(reason);
    const segments = readSegments(long(), { ...source, strategy, signal: controller.signal, onProgress });
    expect((await segments.next()).value?.index).toBe(0);
    await expect(segments.next()).rejects.toBe(reason);
    expect(children()).toEqual([]);
    expect((await segments.next()).done).toBe(true);
  });

  test.each(['seek', 'through'] as const)('when aborted between segments (%s)', async (strategy) => {
    const controller = new AbortController();
    const segments = readSegments(long(), { ...source, strategy, signal: controller.signal });
    await segments.next();
    controller.abort();
    // At once, though nobody asks for the next segment.
    await vi.waitUntil(() => children().length === 0, { timeout: 20_000 });
    await expect(segments.next()).rejects.toBe(controller.signal.reason);
  });

  test.each(['seek', 'through'] as const)('when the loop is left (%s)', async (strategy) => {
    let seen = 0;
    for await (const _ of readSegments(long(), { ...source, strategy })) {
      seen = children().length;
      break;
    }
    expect(children()).toEqual([]);
    expect(seen).toBeGreaterThan(0);
    const consumer = async () => {
      for await (const _ of readSegments(long(), { ...source, strategy })) throw new Error('of the consumer');
    };
    await expect(consumer()).rejects.toThrow('of the consumer');
  });

  test('when something kills it, which is an error', async () => {
    const segments = readSegments(long(), { ...source, strategy: 'through' });
    await segments.next();
    for (const pid of children()) process.kill(pid, 'SIGKILL');
    const rest = async () => {
      for await (const _ of segments);
    };
    await expect(rest()).rejects.toMatchObject({
      code: 'ERR_LONGVLM_VIDEO',
      message: expect.stringMatching(/ffmpeg was ended by SIGKILL while reading '.*long\.mkv'/),
    });
  });

  test('when Node ends, with an iterator that nobody finished', async () => {
    const script = `
      import { readSegments } from ${JSON.stringify(new URL('../../../dist/video/frames.js', import.meta.url).href)};
      const segments = readSegments(${JSON.stringify(long())}, { frames: 12, segmentFrames: 4, geometry: 'source', strategy: 'through' });
      await segments.next();
      console.log('first');`;
    const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      timeout: 20_000,
      encoding: 'utf8',
    });
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'first\n' });
    await vi.waitUntil(() => running(join(folder, 'long.mkv')).length === 0, { timeout: 20_000 });
  });
});

test.each(['seek', 'through'] as const)('reads one segment ahead and no more (%s)', async (strategy) => {
  let read = 0;
  let allowed = 0;
  let reached = () => {};
  const onProgress = ({ stage, unit, done, total, name }: Progress) => {
    expect({ stage, unit, total, name }).toEqual({ stage: 'encode', unit: 'frames', total: 12, name: 'long.mkv' });
    expect(done).toBe(read + 1);
    read = done;
    if (read === allowed) reached();
  };
  const segments = readSegments(long(), { ...source, strategy, onProgress });
  for (let taken = 1; taken <= 2; taken++) {
    allowed = (taken + 1) * 4;
    const ahead = new Promise<void>((fulfil) => {
      reached = fulfil;
    });
    await segments.next();
    await ahead;
    // While another video is read from end to end, there is all the time to read too much.
    await readAll(picoVideo);
    expect(read).toBe(allowed);
  }
  await segments.return();
});

test('FFMPEG_PATH and the option decide which ffmpeg runs', async () => {
  mkdirSync(join(folder, 'bin'), { recursive: true });
  const fake = join(folder, 'bin', 'notffmpeg');
  writeFileSync(fake, '#!/bin/sh\necho hello\n', { mode: 0o755 });
  const missing = { name: 'LongVLMError', code: 'ERR_LONGVLM_FFMPEG_MISSING' };
  const message = expect.stringMatching(
    /the option 'ffmpeg' = .*nowhere.*Install it with `.*ffmpeg`, or set FFMPEG_PATH/,
  );
  await expect(probeVideo(picoVideo, { ffmpeg: join(folder, 'nowhere') })).rejects.toMatchObject({
    ...missing,
    message,
  });
  if (process.platform !== 'win32')
    await expect(probeVideo(picoVideo, { ffmpeg: fake })).rejects.toMatchObject({
      ...missing,
      message: expect.stringMatching(/does not answer as ffmpeg does/),
    });
  const before = process.env.FFMPEG_PATH;
  try {
    process.env.FFMPEG_PATH = join(folder, 'nowhere');
    await expect(probeVideo(picoVideo)).rejects.toMatchObject({
      ...missing,
      message: expect.stringMatching(/FFMPEG_PATH = /),
    });
  } finally {
    if (before === undefined) delete process.env.FFMPEG_PATH;
    else process.env.FFMPEG_PATH = before;
  }
});
