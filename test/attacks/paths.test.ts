// Paths that lead elsewhere than they seem to, or to what is no file.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { hashFile } from '../../dist/base/hash.js';
import { openRegularFile } from '../../dist/base/regularFile.js';
import { openVideo } from '../../dist/video/openVideo.js';
import { probeVideo } from '../../dist/video/probe.js';
import type { VideoInput } from '../../dist/video/videoInput.js';
import { folder, h264, make, pattern } from '../unit/video/videoFiles.js';

const onUnix = process.platform !== 'win32';
const onLinux = process.platform === 'linux';
const module = JSON.stringify(new URL('../../dist/video/probe.js', import.meta.url).href);
const small = make('small.mp4', ...pattern(1, '32x48'), ...h264);
const other = make('other.mp4', ...pattern(1, '64x16'), ...h264);

const before = process.cwd();
afterAll(() => process.chdir(before));

async function failure(input: VideoInput, hash = false): Promise<Error & { code?: string }> {
  try {
    const video = await openVideo(input);
    try {
      await (hash ? video.contentHash() : video.probe());
    } finally {
      await video.dispose();
    }
  } catch (error) {
    return error as Error;
  }
  throw new Error('was read');
}

describe.runIf(onUnix)('the system resolves paths', () => {
  test('.. behind a link', async () => {
    mkdirSync(join(folder, 'a', 'b'), { recursive: true });
    mkdirSync(join(folder, 'c'));
    symlinkSync(join(folder, 'a', 'b'), join(folder, 'c', 'link'));
    copyFileSync(small, join(folder, 'a', 'v.mp4'));
    copyFileSync(other, join(folder, 'c', 'v.mp4'));
    process.chdir(join(folder, 'c'));
    for (const path of ['link/../v.mp4', `${folder}/c/link/../v.mp4`])
      expect(await probeVideo(path), path).toMatchObject({ width: 32, height: 48, path });
    expect(await probeVideo('link/.././../c/v.mp4')).toMatchObject({ width: 64, height: 16 });
  });

  test.each([
    '-y.mp4',
    'http:x.mp4',
    'a:b.mp4',
    "it's\n  Stream #0:0: Video: h264, 640x480.mp4",
    'x'.repeat(250),
    '\u202e4pm.mp4',
  ])('the name %j', async (name) => {
    copyFileSync(small, join(folder, name));
    process.chdir(folder);
    expect(await probeVideo(name)).toMatchObject({ width: 32, height: 48, path: name });
  });

  test.runIf(onLinux)('standard input that is a file, and one that is a stream', () => {
    const script = `
      import { probeVideo } from ${module};
      console.log(await probeVideo('/dev/stdin').then(({ width }) => width, ({ code, message }) => code + message));`;
    const run = (stdin: number | 'pipe') =>
      spawnSync(process.execPath, ['--input-type=module', '-e', script], {
        stdio: [stdin, 'pipe', 'inherit'],
        encoding: 'utf8',
        timeout: 30_000,
      }).stdout;
    expect(run(openSync(small, 'r'))).toBe('32\n');
    expect(run('pipe')).toMatch(/^ERR_LONGVLM_FILE.*not a regular file.*give a stream/);
  });

  test('a name in another encoding is told', async () => {
    const name = Buffer.concat([Buffer.from(`${folder}/caf`), Buffer.from([0xe9]), Buffer.from('.mp4')]);
    writeFileSync(name, readFileSync(small));
    expect(await failure(name.toString())).toMatchObject({ message: expect.stringMatching(/not in UTF-8, rename/) });
    expect(await failure(`file://${folder}/caf%E9.mp4`)).toMatchObject({ name: 'RangeError' });
  });
});

describe('errors are for people', () => {
  test('a data: URL is not repeated', async () => {
    const error = await failure(`data:video/mp4;base64,${'A'.repeat(100_000)}`);
    expect(error).toMatchObject({ name: 'RangeError', message: expect.stringMatching(/'data:' of type string$/) });
  });

  test('a path is not repeated whole, and writes nothing to a terminal', async () => {
    const long = await failure(`/${'x'.repeat(100_000)}`);
    expect(long).toMatchObject({ code: 'ERR_LONGVLM_FILE', message: expect.stringMatching(/name is too long/) });
    expect(long.message.length).toBeLessThan(1000);
    expect((await failure('/none\u001b[31m\n.mp4')).message).toContain("'/none\\x1b[31m\\x0a.mp4'");
  });

  test('a missing file reads the same with and without its hash', async () => {
    for (const path of [join(folder, 'none.mp4'), folder, '/dev/null', 'a\0b'])
      expect((await failure(path, true)).message).toBe((await failure(path)).message);
  });

  test('a broken picture of a list is called a picture', async () => {
    const broken = join(folder, 'broken.png');
    writeFileSync(broken, 'no picture');
    expect((await failure({ frames: [broken] })).message).toMatch(/broken\.png' is not a picture/);
  });

  test('a stream that was read before is not called empty', async () => {
    const read = Readable.from([Buffer.from('x')]);
    for await (const _ of read);
    expect((await failure(read)).message).not.toMatch(/is empty/);
    const blob = new Blob(['x']).stream();
    for await (const _ of blob);
    expect((await failure(blob)).message).toMatch(/stream that was read before/);
    const locked = new Blob(['x']).stream();
    locked.getReader();
    expect(await failure(locked)).toMatchObject({ name: 'TypeError', message: expect.stringMatching(/locked/) });
  });
});

describe.runIf(onUnix)('what is no file', () => {
  const pipe = join(folder, 'pipe.mp4');
  if (onUnix) execFileSync('mkfifo', [pipe]);

  test.each([pipe, '/dev/zero', '/dev/null', folder])('%s is refused at once', async (path) => {
    const error = { code: 'ERR_LONGVLM_FILE' };
    // More than Node has threads: none may stay behind.
    const tries = Array.from({ length: 6 }, () => [hashFile(path), openRegularFile(path), probeVideo(path)]).flat();
    await Promise.all(tries.map((each) => expect(each).rejects.toMatchObject(error)));
    expect(await readFile(small)).toBeInstanceOf(Buffer);
  });

  test('a file that becomes a pipe after it was checked', async () => {
    const path = join(folder, 'changing.mp4');
    copyFileSync(small, path);
    const video = await openVideo(path);
    const { width } = await video.probe();
    expect(width).toBe(32);
    const spare = join(folder, 'spare.mp4');
    execFileSync('mkfifo', [spare]);
    renameSync(spare, path);
    const segments = video.segments({ frames: 2, segmentFrames: 2, geometry: 'source' });
    await expect(segments.next()).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE' });
    await video.dispose();
  });

  test.runIf(onLinux)('a file that shrinks while it is hashed', async () => {
    const path = join(folder, 'shrinking');
    writeFileSync(path, '');
    truncateSync(path, 2 ** 28);
    const hashing = expect(hashFile(path)).rejects.toThrow(/changed while it was read/);
    const isOpen = (number: string) => readlinkSync(`/proc/self/fd/${number}`) === path;
    await vi.waitUntil(() => readdirSync('/proc/self/fd').some((number) => isThere(() => isOpen(number))));
    truncateSync(path, 1);
    await hashing;
  });
});

function isThere(look: () => boolean): boolean {
  try {
    return look();
  } catch {
    return false;
  }
}
