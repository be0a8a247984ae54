// What a program can do where ffmpeg runs: it is told to run a program that tries, in ffmpeg's place.
import { spawn } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openVideo, type VideoLimits } from '../../dist/index.js';
import type { FfmpegBinary } from '../../dist/video/ffmpeg.js';
import { FfmpegProcess } from '../../dist/video/ffmpegProcess.js';
import { exitOf, inSandbox, launchOf } from '../../dist/video/sandbox.js';
import { children } from '../fixtures/processes.js';
import { ffmpeg, make, pattern, picoVideo } from '../unit/video/videoFiles.js';

const folder = mkdtempSync(join(tmpdir(), 'longvlm-sandbox-'));
const secret = join(folder, 'secret');
afterAll(() => rmSync(folder, { recursive: true }));
beforeAll(() => writeFileSync(secret, 'a secret'));

const onLinux = process.platform === 'linux';
const bubblewrap = onLinux ? (await inSandbox(ffmpeg, 'auto')).sandbox?.bubblewrap : undefined;
if (onLinux && bubblewrap === undefined)
  console.warn(
    'skipped: the tests of bubblewrap, which is not installed (apt-get install bubblewrap) or does not work here',
  );

const node = { ...ffmpeg, path: process.execPath } satisfies FfmpegBinary;
const allowed = { memoryBytes: 2 ** 32, cpuSeconds: 60 };

/** What a program of Node says that is started as ffmpeg would be. */
async function say(
  binary: FfmpegBinary,
  program: string,
  descriptors: number[] = [],
  limits = allowed,
): Promise<string> {
  const { program: started, args, env } = launchOf(binary, ['-e', program], limits);
  const child = spawn(started, args, { stdio: ['ignore', 'pipe', 'pipe', 'ignore', ...descriptors], env });
  const [out, error] = await Promise.all([text(child.stdout!), text(child.stderr!)]);
  return out || error;
}

async function framesOf(limits: VideoLimits, program = ffmpeg.path, path = picoVideo) {
  const video = await openVideo(path, { ffmpeg: program, limits });
  const geometry = { size: 8, resize: 'squash' } as const;
  const frames: Uint8Array[] = [];
  try {
    for await (const segment of video.segments({ frames: 4, segmentFrames: 2, geometry })) frames.push(segment.frames);
    return frames;
  } finally {
    await video.dispose();
  }
}

describe.runIf(onLinux)('with limits alone', () => {
  const limited = { ...node, sandbox: {} };

  test('a program sees no variable that holds a secret', async () => {
    process.env.LONGVLM_SECRET = 'a secret';
    const names = JSON.parse(await say(limited, 'console.log(JSON.stringify(Object.keys(process.env)))')) as string[];
    delete process.env.LONGVLM_SECRET;
    expect(names).toContain('PATH');
    expect(names).not.toContain('LONGVLM_SECRET');
  });

  test('a program gets as much memory and time as it is allowed, and writes no large file', async () => {
    const limits = await say(limited, "console.log(require('fs').readFileSync('/proc/self/limits', 'utf8'))");
    expect(limits).toMatch(/^Max data size +4294967296 +4294967296/m);
    expect(limits).toMatch(/^Max file size +1048576 /m);
    expect(limits).toMatch(/^Max core file size +0 /m);
    expect(limits).toMatch(/^Max cpu time +\d+ /m);
  });

  test('a picture for which ffmpeg takes more memory is refused', async () => {
    const large = make('large.png', ...pattern(0.04, '3000x3000'), '-frames:v', '1');
    await framesOf({ sandbox: 'auto' }, ffmpeg.path, large);
    await expect(framesOf({ sandbox: 'auto', maxMemory: 2 ** 26 }, ffmpeg.path, large)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_VIDEO',
      message: expect.stringMatching(/memory/),
    });
  });

  test('an ffmpeg that is gone is told as without', async () => {
    const gone = join(folder, 'gone');
    writeFileSync(gone, `#!/bin/sh\nexec "${ffmpeg.path}" "$@"\n`);
    chmodSync(gone, 0o755);
    await framesOf({ sandbox: 'auto' }, gone);
    rmSync(gone);
    await expect(framesOf({ sandbox: 'auto' }, gone)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FFMPEG',
      message: expect.stringMatching(/no such program/),
    });
  });
});

test.runIf(onLinux)('without a bubblewrap that works, it is refused where it is wanted', async () => {
  const path = process.env.PATH;
  process.env.PATH = folder;
  const other = { ...ffmpeg, path: join(folder, 'other') };
  try {
    await expect(inSandbox(other, 'bwrap')).rejects.toMatchObject({ message: expect.stringMatching(/not installed/) });
    expect((await inSandbox(other, 'auto')).sandbox).toEqual({});
    expect((await inSandbox(other, 'none')).sandbox).toBeUndefined();
  } finally {
    process.env.PATH = path;
  }
});

describe.runIf(bubblewrap !== undefined)('in bubblewrap', () => {
  const inside = { ...node, sandbox: { bubblewrap: bubblewrap! } };

  test('a program reads the descriptor that it is given, and finds no other file, process or place to write', async () => {
    const descriptor = openSync(secret, 'r');
    const found = JSON.parse(
      await say(
        inside,
        `const fs = require('fs');
        const tried = (work) => { try { return work(); } catch (error) { return error.code; } };
        console.log(JSON.stringify({
          input: fs.readFileSync('/dev/fd/4', 'utf8'),
          root: fs.readdirSync('/').sort(),
          byName: [${JSON.stringify(secret)}, '/etc/passwd', '/proc/${process.pid}/environ'].map((name) => tried(() => fs.readFileSync(name))),
          written: ['/usr/lib/a', '/etc/a', '/lib/a'].map((name) => tried(() => fs.writeFileSync(name, ''))),
          processes: fs.readdirSync('/proc').filter((name) => /^\\d+$/.test(name)).length,
        }))`,
        [descriptor],
      ),
    );
    closeSync(descriptor);
    expect(found).toMatchObject({ input: 'a secret', byName: ['ENOENT', 'ENOENT', 'ENOENT'] });
    for (const code of found.written) expect(code).toMatch(/EROFS|ENOENT|EACCES|EPERM/);
    expect(found.processes).toBeLessThanOrEqual(2);
    expect(found.root).not.toEqual(expect.arrayContaining(['home']));
    expect(found.root).not.toEqual(expect.arrayContaining(['tmp']));
  });

  test('a program reaches nothing, not even this machine', async () => {
    const asked: unknown[] = [];
    const server = createServer((request, response) => response.end(String(asked.push(request.url))));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const said = await say(
      inside,
      `fetch('http://127.0.0.1:${port}').then(() => console.log('reached'), (error) => console.log(error.cause.code))`,
    );
    server.close();
    expect([said.trim(), asked]).toEqual(['ECONNREFUSED', []]);
  });

  test('frames are those of an ffmpeg outside, which ends with its reader', async () => {
    const frames = await framesOf({ sandbox: 'bwrap' });
    expect(frames).toEqual(await framesOf({}));
    const video = await openVideo(picoVideo, { ffmpeg: ffmpeg.path, limits: { sandbox: 'bwrap' } });
    const geometry = { size: 8, resize: 'squash' } as const;
    for await (const _ of video.segments({ frames: 4, segmentFrames: 2, geometry })) break;
    await video.dispose();
    const commands = () => children().filter((id) => commandOf(id).includes('/dev/fd/'));
    while (commands().length > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  });

  test('nothing is left of one that is killed while it starts', async () => {
    const binary = { ...ffmpeg, sandbox: inside.sandbox };
    for (let delay = 0; delay < 6; delay += 0.2) {
      const started = new FfmpegProcess(binary, ['-f', 'lavfi', '-i', 'anullsrc', '-f', 'null', 'pipe:1']);
      const until = performance.now() + delay;
      while (performance.now() < until);
      started.kill();
      // Whatever is left of it holds its output.
      await started.closed;
    }
  });

  test('a signal that ends ffmpeg inside is told as one', async () => {
    const { program, args, env } = launchOf(inside, ['-e', 'process.kill(process.pid, "SIGSEGV")'], allowed);
    const child = spawn(program, args, { stdio: 'ignore', env });
    const exit = await new Promise<Parameters<typeof exitOf>[1]>((resolve) =>
      child.on('close', (code, signal) => resolve({ code, signal })),
    );
    expect(exitOf(inside, exit)).toEqual({ code: null, signal: 'SIGSEGV' });
  });
});

function commandOf(id: number): string {
  try {
    return readFileSync(`/proc/${id}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}
