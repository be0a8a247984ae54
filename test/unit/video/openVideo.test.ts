// The same video in every form, lists of pictures, and what is left of both: nothing.
import { spawnSync } from 'node:child_process';
import {
  createReadStream,
  mkdirSync,
  mkdtempSync,
  openAsBlob,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import type { FrameSegment, ReadSegmentsOptions } from '../../../dist/video/frames.js';
import { openVideo, type Video } from '../../../dist/video/openVideo.js';
import type { VideoInput } from '../../../dist/video/videoInput.js';
import { children } from '../../fixtures/processes.js';
import { folder, h264, make, pattern, picoVideo, run } from './videoFiles.js';

const temporary = mkdtempSync(join(folder, 'tmp-'));
const before = process.env.TMPDIR;
beforeAll(() => {
  process.env.TMPDIR = temporary;
});
afterAll(() => {
  if (before === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = before;
});
afterEach(() => {
  expect(readdirSync(temporary)).toEqual([]);
  if (process.platform === 'linux') expect(children()).toEqual([]);
});

const server = createServer((_, response) => response.end(readFileSync(picoVideo)));
beforeAll(() => new Promise<void>((fulfil) => server.listen(0, '127.0.0.1', fulfil)));
afterAll(() => {
  server.close();
  server.closeAllConnections();
});
const served = (path: string) => `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;

const options = { frames: 12, segmentFrames: 4, geometry: { resize: 'crop', size: 32 } } as const;

async function readAll(video: Video, changes: Partial<ReadSegmentsOptions> = {}) {
  const segments: FrameSegment[] = [];
  for await (const segment of video.segments({ ...options, ...changes })) segments.push(segment);
  return {
    pixels: Buffer.concat(segments.map(({ frames }) => frames)),
    dims: segments.map(({ dims }) => dims),
    indices: segments.flatMap(({ frameIndices }) => frameIndices),
    timestamps: segments.flatMap(({ timestamps }) => timestamps),
  };
}

async function using<T>(input: VideoInput, work: (video: Video) => Promise<T>): Promise<T> {
  const video = await openVideo(input);
  try {
    return await work(video);
  } finally {
    await video.dispose();
  }
}

describe('openVideo()', () => {
  const bytes = readFileSync(picoVideo);
  const web = () =>
    new ReadableStream<Uint8Array>({
      start(controller) {
        for (let at = 0; at < bytes.length; at += 5000) controller.enqueue(bytes.subarray(at, at + 5000));
        controller.close();
      },
    });

  /** What the path gives. */
  let known: { wanted: Awaited<ReturnType<typeof readAll>>; hash: string } | undefined;
  test.each<[string, string, () => VideoInput | Promise<VideoInput>]>([
    ['a path', 'video.mp4', () => picoVideo],
    ['a URL of file:', 'video.mp4', () => pathToFileURL(picoVideo)],
    ['the same as a string', 'video.mp4', () => pathToFileURL(picoVideo).href],
    ['a URL', 'a talk.mp4', () => new URL(served('/talks/a%20talk.mp4?token=secret#t=1'))],
    ['a URL as a string', 'video', () => served('/')],
    ['a URL of several dots', '..%2f..%2fx.mp4', () => served('/..%252f..%252fx.mp4')],
    ['a Uint8Array', 'video', () => new Uint8Array(bytes)],
    ['a Buffer', 'video', () => bytes],
    ['an ArrayBuffer', 'video', () => new Uint8Array(bytes).buffer],
    ['a Blob', 'video', () => new Blob([bytes])],
    ['a Blob of a file', 'video', () => openAsBlob(picoVideo)],
    ['a File', 'x.mp4', () => new File([bytes], 'C:\\videos\\x.mp4')],
    ['a stream of a file', 'video', () => createReadStream(picoVideo)],
    ['a stream of pieces', 'video', () => Readable.from([bytes.subarray(0, 9), bytes.subarray(9)])],
    ["the web's stream", 'video', web],
  ])('takes %s', async (_, name, input) => {
    known ??= await using(picoVideo, async (video) => {
      return { wanted: await readAll(video), hash: await video.contentHash() };
    });
    const { wanted, hash } = known;
    await using(await input(), async (video) => {
      expect(video.name).toBe(name);
      expect(await video.contentHash()).toBe(hash);
      const info = await video.probe();
      expect(info).toMatchObject({ frameCount: 252, width: 128, height: 96, durationSeconds: 20.16, kind: 'video' });
      expect(basename(info.path)).toBe(name);
      expect(await video.probe()).toBe(info);
      expect(await readAll(video)).toEqual(wanted);
      // Again, and a part.
      expect((await readAll(video, { start: 4, end: 8 })).indices.at(0)).toBe(52);
    });
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
  });

  test('keeps what it fetched in a folder that nobody else may enter', async () => {
    const [one, two] = [await openVideo(bytes), await openVideo(new File([bytes], 'x.mp4'))];
    const [own, ...others] = readdirSync(temporary);
    expect(others).toEqual([]);
    if (process.platform !== 'win32') expect(statSync(join(temporary, own!)).mode & 0o777).toBe(0o700);
    expect(readdirSync(join(temporary, own!))).toHaveLength(2);
    await one.dispose();
    await one.dispose();
    expect(readdirSync(join(temporary, own!))).toHaveLength(1);
    expect((await two.probe()).frameCount).toBe(252);
    await two[Symbol.asyncDispose]();
  });

  test('tells how far it has come', async () => {
    const seen: object[] = [];
    const large = Buffer.concat([bytes, Buffer.alloc(5 << 20)]);
    await (await openVideo(large, { onProgress: (progress) => seen.push(progress) })).dispose();
    const common = { stage: 'fetch', total: large.length, unit: 'bytes', name: 'video' };
    expect(seen.length).toBeGreaterThan(3);
    expect(seen[0]).toEqual({ ...common, done: 0 });
    expect(seen.at(-1)).toEqual({ ...common, done: large.length });
    const failing = () => {
      throw new Error("of the caller's");
    };
    await expect(openVideo(bytes, { onProgress: failing })).rejects.toThrow("of the caller's");
  });

  test('ends with Node, and takes its files along', () => {
    const module = new URL('../../../dist/video/openVideo.js', import.meta.url).href;
    const script = `
      import { readdirSync } from 'node:fs';
      import { openVideo } from ${JSON.stringify(module)};
      await openVideo(new Uint8Array(10));
      console.log(readdirSync(process.env.TMPDIR).length);
      process.exit(3);`;
    const args = ['--input-type=module', '-e', script];
    expect(spawnSync(process.execPath, args, { encoding: 'utf8' })).toMatchObject({ status: 3, stdout: '1\n' });
  });

  test.runIf(process.platform === 'linux')('tells when there is no room on the disk', () => {
    const module = new URL('../../../dist/video/openVideo.js', import.meta.url).href;
    const script = `
      import { readdirSync } from 'node:fs';
      import { openVideo } from ${JSON.stringify(module)};
      const error = await openVideo(new Uint8Array(1 << 20)).catch((error) => error);
      console.log(error.code, error.message, readdirSync(process.env.TMPDIR).length);`;
    const limited = ['-c', 'ulimit -f 100; exec "$@"', 'sh', process.execPath, '--input-type=module', '-e', script];
    const { stdout } = spawnSync('sh', limited, { encoding: 'utf8' });
    expect(stdout).toMatch(
      /^ERR_LONGVLM_FILE Cannot write .*: there is no room .* Free space there, or .*TMPDIR.* 0\n$/,
    );
  });

  test('tells when there is no folder for temporary files', async () => {
    process.env.TMPDIR = join(temporary, 'none');
    try {
      const error = { code: 'ERR_LONGVLM_FILE', message: expect.stringMatching(/ENOENT.*TMPDIR/) };
      await expect(openVideo(bytes)).rejects.toMatchObject(error);
    } finally {
      process.env.TMPDIR = temporary;
    }
  });

  test('calls the video by its name when it is none', async () => {
    await using(new File(['no video\n'.repeat(500)], 'talk.mp4'), async (video) => {
      const message = expect.stringMatching(/^'talk\.mp4' is not a video that ffmpeg can read: (?!.*longvlm-)/);
      await expect(video.probe()).rejects.toMatchObject({ code: 'ERR_LONGVLM_VIDEO', message });
    });
    await using(new Uint8Array(), (video) => expect(video.probe()).rejects.toThrow("'video' is empty, 0 bytes"));
    await using(join(folder, 'none.mp4'), async (video) => {
      await expect(video.probe()).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE' });
      await expect(video.contentHash()).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE' });
    });
  });

  test.each([
    ['HLS', '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:PATH\n#EXT-X-ENDLIST\n'],
    ['concat', 'ffconcat version 1.0\nfile PATH\n'],
  ])('lets no playlist from elsewhere (%s) name local files', async (_, text) => {
    const path = make('secret.ts', ...pattern(1), ...h264);
    // Relative, as ffmpeg would take it: in the folder of the playlist.
    const playlist = text.replace('PATH', path);
    await using(Buffer.from(playlist), async (video) => {
      const error = { code: 'ERR_LONGVLM_VIDEO', message: expect.stringMatching(/may refer to other files/) };
      await expect(video.probe()).rejects.toMatchObject(error);
    });
  });

  test('ends what is being read when it is disposed', async () => {
    const disposed = { code: 'ERR_LONGVLM_DISPOSED' };
    const video = await openVideo(readFileSync(make('b.mkv', ...pattern(20, '640x360'), ...h264)));
    const segments = video.segments(options);
    await segments.next();
    await video.dispose();
    expect(readdirSync(temporary)).toEqual([]);
    if (process.platform === 'linux') await vi.waitUntil(() => children().length === 0, { timeout: 20_000 });
    await expect(segments.next()).rejects.toMatchObject(disposed);
    await expect(video.probe()).rejects.toMatchObject(disposed);
    await expect(video.contentHash()).rejects.toMatchObject(disposed);
    await expect(video.segments(options).next()).rejects.toMatchObject(disposed);
  });

  test('takes a signal everywhere', async () => {
    const signal = AbortSignal.abort('enough');
    await expect(openVideo(bytes, { signal })).rejects.toBe('enough');
    await using(picoVideo, async (video) => {
      await expect(video.probe(signal)).rejects.toBe('enough');
      await expect(video.contentHash(signal)).rejects.toBe('enough');
      await expect(video.segments({ ...options, signal }).next()).rejects.toBe('enough');
      // And goes on without.
      expect((await video.probe()).frameCount).toBe(252);
      const controller = new AbortController();
      const onProgress = ({ done }: { done: number }) => done === 6 && controller.abort('enough');
      const segments = video.segments({ ...options, signal: controller.signal, onProgress });
      await segments.next();
      await expect(segments.next()).rejects.toBe('enough');
    });
  });

  test('rejects wrong arguments', async () => {
    const reject = (input: unknown, message: RegExp, kind: ErrorConstructor = TypeError, changes: object = {}) =>
      expect(openVideo(input as VideoInput, changes)).rejects.toMatchObject({
        name: kind.name,
        message: expect.stringMatching(message),
      });
    await reject(5, /path, URL, Uint8Array, .* or \{ frames \} for video but received 5/);
    await reject(undefined, /for video but received undefined/);
    await reject({}, /for video but received an instance of Object/);
    await reject(new Float32Array(3), /for video but received an instance of Float32Array/);
    await reject('', /non-empty string for video/, RangeError);
    await reject('ftp://me:secret@host/x.mp4', /^(?!.*secret).*http:, https: or file: .*received 'ftp:'/, RangeError);
    await reject(new URL('data:video/mp4,x'), /received 'data:'/, RangeError);
    await reject('https://me:secret@[', /^(?!.*secret).*valid URL for video/, RangeError);
    await reject({ frames: 'a.png' }, /array of pictures for video.frames/);
    await reject({ frames: [] }, /at least one picture/, RangeError);
    await reject({ frames: ['a.png', 5] }, /for video.frames\[1\] but received 5/);
    await reject({ frames: ['a.png', createReadStream(picoVideo).destroy()] }, /path, URL, bytes or Blob for/);
    await reject({ frames: ['a.png', 'ftp://x'] }, /for video.frames\[1\]/, RangeError);
    await reject({ frames: ['a.png'], timestamps: 1 }, /array of seconds for video.timestamps/);
    await reject({ frames: ['a.png'], timestamps: [] }, /1 numbers, one a picture.*received 0/, RangeError);
    await reject({ frames: ['a', 'b'], timestamps: [1, 1] }, /number above 1 for video.timestamps\[1\]/, RangeError);
    await reject(
      { frames: ['a'], timestamps: [-1] },
      /between 0 and .* for video.timestamps\[0\] but received -1/,
      RangeError,
    );
    await reject({ frames: ['a'], timestamps: ['0'] }, /for video.timestamps\[0\]/);
    await reject(bytes, /non-empty string for ffmpeg/, TypeError, { ffmpeg: 1 });
    await reject(bytes, /positive integer for limits.maxBytes/, RangeError, { limits: { maxBytes: 0 } });
    await reject(bytes, /for limits.idleSeconds/, TypeError, { limits: { idleSeconds: '1' } });
    await reject(bytes, /function for onProgress/, TypeError, { onProgress: 1 });
    await reject(Readable.from(['text']), /Uint8Array for a piece of the stream but received 'text'/);
    await using(picoVideo, async (video) => {
      expect(() => video.segments({ ...options, frames: 0 })).toThrow(RangeError);
      expect(() => video.segments(undefined as never)).toThrow(TypeError);
    });
  });
});

describe('a list of pictures', () => {
  const video = () => make('b.mp4', ...pattern(6), ...h264, '-bf', '3', '-g', '20');
  /** Every frame of {@link video} as a file, and its time. */
  const pictures = () => {
    const into = join(folder, 'frames');
    mkdirSync(into, { recursive: true });
    run('-i', video(), '-vf', 'scale=flags=bicubic,format=rgb24', join(into, '%03d.png'));
    const frames = readdirSync(into)
      .sort()
      .map((name) => join(into, name));
    return { frames, timestamps: frames.map((_, i) => i / 25) };
  };

  test.each([
    { geometry: 'source' },
    { geometry: { resize: 'squash', size: 30 } },
    { geometry: { resize: 'crop', size: 30 }, start: 2, end: 5 },
    { geometry: { resize: 'pad', size: 50 }, frames: undefined, fps: 2 },
  ] as const)('made of the frames of a video is that video: %j', async (changes) => {
    const wanted = await using(video(), (file) => readAll(file, changes));
    const found = await using(pictures(), (list) => readAll(list, changes));
    expect(found.indices).toEqual(wanted.indices);
    expect(found.dims).toEqual(wanted.dims);
    expect(found.timestamps.map((time) => time.toFixed(6))).toEqual(wanted.timestamps.map((time) => time.toFixed(6)));
    expect(found.pixels.equals(wanted.pixels)).toBe(true);
  });

  test('is described as a video', async () => {
    await using(pictures(), async (list) => {
      expect(list.name).toBe('pictures');
      const info = await list.probe();
      expect(info).toMatchObject({ path: 'pictures', kind: 'pictures', container: 'pictures', codec: 'png' });
      expect(info).toMatchObject({ frameCount: 150, width: 64, height: 48, rotation: 0, variableFrameRate: false });
      expect(info.durationSeconds).toBeCloseTo(6, 9);
      expect(info.frameRate).toBeCloseTo(25, 9);
    });
    const { frames } = pictures();
    const few = { frames: frames.slice(0, 4) };
    await using(few, async (list) => {
      expect(await list.probe()).toMatchObject({ durationSeconds: 4, frameRate: 1, variableFrameRate: false });
      expect((await readAll(list)).timestamps).toEqual([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
      expect((await readAll(list, { start: 1, end: 3 })).indices).toEqual([1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
    });
    await using({ ...few, timestamps: [0, 1, 5, 6] }, async (list) => {
      expect(await list.probe()).toMatchObject({ durationSeconds: 8, variableFrameRate: true });
    });
    await using({ frames: frames.slice(0, 1), timestamps: [7] }, async (list) => {
      expect(await list.probe()).toMatchObject({ durationSeconds: 0, frameCount: 1 });
      expect((await readAll(list)).timestamps).toEqual(new Array(12).fill(7));
    });
  });

  test('holds pictures of any size and form, each cut by its own', async () => {
    const solid = (name: string, size: string, color: string) =>
      make(name, '-f', 'lavfi', '-i', `color=c=${color}:s=${size},format=rgb24`, '-frames:v', '1');
    const wide = solid('wide.png', '64x32', '0x102030');
    const tall = solid('tall.bmp', '30x90', '0x405060');
    const gif = make('moving.gif', ...pattern(1, '40x40'));
    const frames = [wide, readFileSync(tall), new Blob([readFileSync(gif)]), pathToFileURL(wide)];
    const one = { frames: 4, segmentFrames: 4 };
    await using({ frames }, async (list) => {
      const padded = await readAll(list, { ...one, geometry: { resize: 'pad', size: 90 } });
      const pixel = (slot: number, x: number, y: number) => [
        ...padded.pixels.subarray(((slot * 90 + y) * 90 + x) * 3).subarray(0, 3),
      ];
      // 32 of 64 rows, and 30 of 90 columns, are in the middle.
      expect([pixel(0, 45, 45), pixel(0, 45, 10)]).toEqual([
        [0x10, 0x20, 0x30],
        [122, 116, 104],
      ]);
      expect([pixel(1, 45, 45), pixel(1, 10, 45)]).toEqual([
        [0x40, 0x50, 0x60],
        [122, 116, 104],
      ]);
      expect(padded.indices).toEqual([0, 1, 2, 2]);
      const whole = await readAll(list, { ...one, geometry: 'source' });
      expect(whole.dims).toEqual([[4, 32, 64, 3]]);
      // The first of several frames.
      const first = await using(gif, (video) => readAll(video, { start: 0, end: 0.01, frames: 1, segmentFrames: 1 }));
      const cropped = await readAll(list, { ...one });
      const size = 32 * 32 * 3;
      expect(cropped.pixels.subarray(2 * size, 3 * size).equals(first.pixels)).toBe(true);
    });
  });

  test('has the hash of its pictures and their times', async () => {
    const { frames, timestamps } = pictures();
    const hash = (input: VideoInput) => using(input, (list) => list.contentHash());
    const three = { frames: frames.slice(0, 3), timestamps: timestamps.slice(0, 3) };
    const wanted = await hash(three);
    expect(await hash({ ...three, frames: three.frames.map((path) => readFileSync(path)) })).toBe(wanted);
    expect(await hash({ frames: three.frames })).not.toBe(wanted);
    expect(await hash({ ...three, frames: [...three.frames].reverse() })).not.toBe(wanted);
  });

  test('names the picture that is none, or damaged', async () => {
    const { frames } = pictures();
    const text = join(folder, 'text.png');
    writeFileSync(text, 'no picture');
    const failing = (picture: string | Uint8Array, message: RegExp, code = 'ERR_LONGVLM_VIDEO') =>
      using({ frames: [frames[0]!, picture, frames[1]!] }, (list) =>
        expect(readAll(list)).rejects.toMatchObject({ code, message: expect.stringMatching(message) }),
      );
    await failing(text, /text\.png' is not a picture that ffmpeg can read/);
    await failing(join(folder, 'none.png'), /none\.png': there is no such file/, 'ERR_LONGVLM_FILE');
    await failing(Buffer.from('#EXTM3U\n'), /'picture 2' is/);
    const blank = readFileSync(frames[0]!);
    blank.fill(0, blank.indexOf('IDAT') + 4);
    await failing(blank, /^'picture 2', one of the pictures, cannot be decoded: (?!.*longvlm-)/);
    const cut = readFileSync(frames[0]!).subarray(0, 60);
    await failing(cut, /'picture 2' holds a video stream without pictures/);
  });
});
