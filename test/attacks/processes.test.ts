// Processes that are killed, or get nothing from the system: no ffmpeg and no file stays, and each failure is one error.
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { descriptorCause } from '../../dist/base/descriptors.js';
import { ownerOf, ownMark } from '../../dist/base/owner.js';
import { cannotLoad } from '../../dist/llm/llama.js';
import { main } from '../fixtures/commandLine.js';
import { children, exists } from '../fixtures/processes.js';
import { ffmpeg, folder, picoVideo } from '../unit/video/videoFiles.js';

const onLinux = process.platform === 'linux';
const at = (module: string) => JSON.stringify(new URL(`../../dist/${module}`, import.meta.url).href);
/** Temporary files of the processes that are started here. */
const temporary = join(folder, 'temporary');
mkdirSync(temporary);
const environment = { ...process.env, TMPDIR: temporary };

const started = new Set<number>();
afterEach(() => {
  for (const id of started) if (exists(id)) process.kill(id, 'SIGKILL');
  started.clear();
});

function script(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  chmodSync(join(folder, name), 0o755);
  return join(folder, name);
}

describe.runIf(onLinux)('after kill -9', () => {
  // The one writes to a pipe that nobody reads any more; the other never writes, as one that decodes for its last frame.
  test.each([
    ['that writes nothing', '-re -f lavfi -i anullsrc -f null -'],
    ['that waits for its reader', '-f lavfi -i testsrc2=s=64x48 -f rawvideo pipe:1'],
  ])('an ffmpeg %s ends, and the temporary file goes', async (name, endless) => {
    const wrapper = script(
      `endless-${name.length}`,
      `#!/bin/sh\ncase "$*" in *-version*) exec "${ffmpeg.path}" "$@" ;; esac\nexec "${ffmpeg.path}" -nostdin -v quiet ${endless}\n`,
    );
    const node = spawn(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `import { readFileSync } from 'node:fs';
        import { openVideo } from ${at('video/openVideo.js')};
        const video = await openVideo(readFileSync(${JSON.stringify(picoVideo)}), { ffmpeg: ${JSON.stringify(wrapper)} });
        await video.probe();`,
      ],
      { env: environment, stdio: 'ignore' },
    );
    started.add(node.pid!);
    const isFfmpeg = (id: number) => isRunning(id) && commandOf(id).includes('lavfi');
    const running = () => children(node.pid!).filter(isFfmpeg);
    await vi.waitUntil(() => running().length > 0, { timeout: 30_000 });
    const [child] = running();
    started.add(child!);
    expect(readdirSync(temporary)).toHaveLength(1);
    node.kill('SIGKILL');
    await vi.waitUntil(() => !isFfmpeg(child!), { timeout: 20_000 });
    await vi.waitUntil(() => readdirSync(temporary).length === 0, { timeout: 20_000 });
    started.delete(child!);
  });

  // What begins before there is somebody to end it stays when Node is killed just then.
  test('who ends ffmpeg after it is there before ffmpeg', () => {
    const seen = join(folder, 'seen');
    const mark = join(folder, 'only-here');
    const wrapper = script(
      'looks-around',
      `#!/bin/sh\nfor one in /proc/[0-9]*; do grep -qs '${mark}' "$one/environ" && tr '\\0' ' ' < "$one/cmdline" >> '${seen}'; done\n`,
    );
    const { status, stderr } = spawnSync(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `import { FfmpegProcess } from ${at('video/ffmpegProcess.js')};
        await new FfmpegProcess({ path: ${JSON.stringify(wrapper)}, version: '' }, []).closed;`,
      ],
      { env: { ...environment, PATH: `${process.env.PATH}:${mark}` }, encoding: 'utf8' },
    );
    expect([status, stderr]).toEqual([0, '']);
    expect(readFileSync(seen, 'utf8')).toContain('kill -s KILL');
  });

  test('a file that was being written goes', async () => {
    const path = join(temporary, 'output');
    const node = spawn(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `import { writeWholeFile } from ${at('base/wholeFile.js')};
        await writeWholeFile(${JSON.stringify(path)}, async (file) => {
          await file.write('half');
          console.log('written');
          await new Promise(() => setInterval(() => {}, 1000));
        });`,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    started.add(node.pid!);
    await new Promise((fulfil) => node.stdout.once('data', fulfil));
    expect(readdirSync(temporary)).toEqual([expect.stringMatching(/^output\..*\.tmp$/)]);
    node.kill('SIGKILL');
    await vi.waitUntil(() => readdirSync(temporary).length === 0, { timeout: 20_000 });
  });
});

test('what a lost process left is swept, and nothing else', () => {
  const dead = spawnSync(process.execPath, ['-e', '']).pid;
  const [place, pid, began] = ownMark().split('-');
  const mark = (...parts: (string | number | undefined)[]) => `longvlm-${parts.join('-')}-abcDEF`;
  const left = mark(place, dead, 1);
  const others = [
    mark(place, pid, began),
    mark('01234567', dead, 1),
    mark(place, 'x', 1),
    'longvlm-abcDEF',
    'longvlm-bench',
    `mine-${place}-${dead}-1-abcDEF`,
  ];
  for (const name of [left, ...others]) {
    mkdirSync(join(temporary, name));
    writeFileSync(join(temporary, name, '0'), 'content');
  }
  const { status } = spawnSync(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { openVideo } from ${at('video/openVideo.js')};
      await (await openVideo(Buffer.from('x'))).dispose();`,
    ],
    { env: { ...environment, TEMP: temporary }, stdio: 'inherit' },
  );
  expect(status).toBe(0);
  expect(readdirSync(temporary).sort()).toEqual(others.sort());
  for (const name of others) expect(existsSync(join(temporary, name, '0'))).toBe(true);
});

test('the mark of a process', async () => {
  const [place, , began] = ownMark().split('-');
  const dead = spawnSync(process.execPath, ['-e', '']).pid;
  const fate = (mark: string, path = process.execPath) => ownerOf(mark, path);
  expect(await fate(ownMark())).toBe('running');
  expect(await fate(`${place}-${dead}-${began}`)).toBe('gone');
  // Its number was given again.
  if (onLinux) expect(await fate(`${place}-${process.pid}-1`)).toBe('gone');
  // Of another host, or of before a restart: what it touched lately may be in use.
  const folder = mkdtempSync(join(tmpdir(), 'longvlm-test-'));
  expect(await fate(`01234567-${dead}-${began}`, folder)).toBe('unknown');
  utimesSync(folder, 0, 0);
  expect(await fate(`01234567-${dead}-${began}`, folder)).toBe('gone');
  rmSync(folder, { recursive: true });
});

describe.runIf(onLinux)('a process without descriptors', () => {
  test('gets one error from everything, and works again once it has some', () => {
    const text = `
      import { closeSync, openSync, readFileSync } from 'node:fs';
      import { hashFile } from ${at('base/hash.js')};
      import { openVideo } from ${at('video/openVideo.js')};
      import { probeVideo } from ${at('video/probe.js')};
      import { readSegments } from ${at('video/frames.js')};
      const path = ${JSON.stringify(picoVideo)};
      const bytes = readFileSync(path);
      const info = await probeVideo(path);
      const held = [];
      for (;;) try { held.push(openSync('/dev/null')); } catch { break; }
      const settings = { frames: 2, segmentFrames: 2, geometry: { resize: 'squash', size: 8 } };
      const tries = {
        probe: () => probeVideo(path),
        hash: () => hashFile(path),
        bytes: async () => { const video = await openVideo(bytes); try { await video.probe(); } finally { await video.dispose(); } },
        read: async () => { for await (const _ of readSegments(info, settings)); },
      };
      for (const free of [0, 1, 3, 5, 6, 7, 9, 40]) {
        for (let i = 0; i < free; i++) closeSync(held.pop());
        for (const [name, attempt] of Object.entries(tries))
          console.log(free, name, await attempt().then(() => 'done', (error) => error.name + ' ' + error.message));
        try { for (let i = 0; i < free; i++) held.push(openSync('/dev/null')); } catch { console.log('lost'); }
      }`;
    const { stdout, stderr, status } = spawnSync(
      '/bin/sh',
      ['-c', `ulimit -n 100; exec "${process.execPath}" --input-type=module -e '${text.replaceAll("'", `'\\''`)}'`],
      { encoding: 'utf8', env: environment, timeout: 60_000 },
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const lines = stdout.trim().split('\n');
    expect(lines).toHaveLength(32);
    for (const line of lines) expect(line).toMatch(/ done$|LongVLMError .*too many files open\. .*ulimit -n/);
    expect(lines.filter((line) => line.startsWith('0 ') && line.endsWith('done'))).toEqual([]);
    expect(lines.filter((line) => line.startsWith('40 ') && line.endsWith('done'))).toHaveLength(4);
  });

  // Node opens the files of a program and of node-llama-cpp all at once, and remembers for good what it could not open.
  test('gets one error from the command line, however few they are', () => {
    for (const limit of [40, 42, 44, 51]) {
      const { stdout, stderr, status } = spawnSync(
        '/bin/sh',
        ['-c', `ulimit -n ${limit}; exec "$@"`, 'sh', process.execPath, main, 'ask', picoVideo, 'What?'],
        { encoding: 'utf8', env: environment, timeout: 60_000 },
      );
      expect({ limit, status, stdout, stderr }).toEqual({
        ...{ limit, status: 1, stdout: '' },
        stderr: expect.stringMatching(/^longvlm: .*too many files open\. .*ulimit -n.*\n$/),
      });
    }
  });

  test('gets one error from the language model, which starts once it has some', () => {
    // A file: node-llama-cpp passes `--input-type` on to processes, which end then.
    const file = script(
      'startLlama.mjs',
      `import { closeSync, openSync } from 'node:fs';
      import { startLlama } from ${at('llm/llama.js')};
      const held = [];
      const fill = (free) => {
        try { for (;;) held.push(openSync('/dev/null')); } catch {}
        for (let i = 0; i < free; i++) closeSync(held.pop());
      };
      const attempt = async (free, device) =>
        console.log(free, await startLlama(device).then(() => 'done', (error) => error.code + ' ' + error.message));
      for (const free of [0, 110]) { fill(free); await attempt(free, 'cpu'); }
      for (const one of held.splice(0)) closeSync(one);
      await attempt('all', 'cpu');
      for (const free of [0, 2]) { fill(free); await attempt(free, 'auto'); }`,
    );
    const { stdout, stderr, status } = spawnSync(
      '/bin/sh',
      ['-c', 'ulimit -n 300; exec "$@"', 'sh', process.execPath, file],
      { encoding: 'utf8', env: environment, timeout: 60_000 },
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const lines = stdout.trim().split('\n');
    expect(lines).toHaveLength(5);
    expect(lines.splice(2, 1)).toEqual(['all done']);
    for (const line of lines)
      expect(line).toMatch(/ERR_LONGVLM_LLM .*: this process has too many files open\. .*ulimit -n/);
  });

  test('a package that is missing is called missing all the same', async () => {
    const missing: string = 'no-such-package';
    const error = await import(missing).catch((thrown: unknown) => thrown);
    expect(descriptorCause(error)).toBeUndefined();
    expect(cannotLoad(error).message).toMatch(
      /^node-llama-cpp cannot be loaded: .*no-such-package.*\. Install longvlm/,
    );
  });

  test.each([
    ['is a folder', folder],
    ['is no program', script('empty', '')],
    ['may not be run', picoVideo],
  ])('an ffmpeg that %s is one error', (_, path) => {
    const text = `
      import { probeVideo } from ${at('video/probe.js')};
      await probeVideo(${JSON.stringify(picoVideo)}, { ffmpeg: ${JSON.stringify(path)} }).catch(({ code }) => console.log(code));`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', text], { encoding: 'utf8' });
    expect({ stdout, stderr }).toEqual({ stdout: 'ERR_LONGVLM_FFMPEG_MISSING\n', stderr: '' });
  });

  test('a working directory that was removed is no hindrance', () => {
    const gone = join(folder, 'gone');
    mkdirSync(gone);
    const text = `
      import { rmdirSync } from 'node:fs';
      import { probeVideo } from ${at('video/probe.js')};
      rmdirSync(${JSON.stringify(gone)});
      console.log((await probeVideo(${JSON.stringify(picoVideo)})).width);
      await probeVideo('video.mp4').catch(({ code }) => console.log(code));`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', text], {
      cwd: gone,
      encoding: 'utf8',
    });
    expect(stdout).toBe('128\nERR_LONGVLM_FILE\n');
  });
});

function commandOf(id: number): string {
  try {
    return readFileSync(`/proc/${id}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}

/** A process that ended and that nobody asked about is none any more. */
function isRunning(id: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${id}/stat`, 'latin1'));
  } catch {
    return false;
  }
}
