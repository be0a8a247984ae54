import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { FeaturesCache, LongVLM } from '../../dist/index.js';
import { findFfmpeg } from '../../dist/video/ffmpeg.js';
import { startChild } from '../fixtures/cache/child.js';
import { start } from '../fixtures/commandLine.js';
import { pico, picoOptions } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

const folder = await temporaryFolder();
const LONGVLM_CACHE = join(folder, 'cache');
const longvlm = (...args: string[]) => start(args, { LONGVLM_CACHE }).result;
const models = ['--vision', pico.clip, '--projector', pico.projector, '--llm', pico.llm, '--device', 'cpu'];
const sampled = ['--frames', '20', '--segment-frames', '5', '--merge-tokens', '6', '--threads', '1'];
const ask = (...more: string[]) =>
  longvlm(
    'ask',
    pico.video,
    'What?',
    ...models,
    ...sampled,
    '--max-tokens',
    '4',
    '--temperature',
    '0',
    '--json',
    ...more,
  );

test('a second question about a video needs no decoder, whatever it asks', async () => {
  const first = await ask();
  expect(first.stderr).toBe('');
  const videos = join(LONGVLM_CACHE, 'videos');
  expect(await readdir(videos)).toHaveLength(1);

  const second = await ask('--ffmpeg', '/no/ffmpeg');
  expect([second.code, second.stderr]).toEqual([0, '']);
  const answer = ({ stdout }: { stdout: string }) => JSON.parse(stdout) as { tokenIds: number[]; video: object };
  expect(answer(second).tokenIds).toEqual(answer(first).tokenIds);
  // Nor the tower.
  expect(JSON.parse(first.stdout).devices.vision).toBe('cpu');
  expect(JSON.parse(second.stdout).devices).not.toHaveProperty('vision');
  expect(answer(second).video).toEqual(answer(first).video);

  // What was not encoded so, or is not to be looked up, needs it.
  for (const other of [['--no-cache'], ['--resize', 'squash'], ['--frames', '10'], ['--global-layers', '2']]) {
    const { code, stderr } = await ask(...other, '--ffmpeg', '/no/ffmpeg');
    expect([code, stderr.trim().split('\n').length]).toEqual([1, 1]);
    expect(stderr).toContain('/no/ffmpeg');
  }
  expect(await readdir(videos)).toHaveLength(1);
});

test('longvlm cache lists it and clears it', async () => {
  const listed = await longvlm('cache', 'ls');
  expect(listed.stdout).toMatch(/^video\.mp4 {2}20\.2 s {2}\d+ kB {2}\d{4}-\d\d-\d\dT/);
  const { videos } = JSON.parse((await longvlm('cache', 'ls', '--json')).stdout);
  expect(videos).toMatchObject([{ name: 'video.mp4', tokens: 29 }]);
  const cleared = JSON.parse((await longvlm('cache', 'clear', '--json')).stdout);
  expect(cleared).toEqual({ files: 1, bytes: videos[0].bytes });
  expect((await longvlm('cache', 'ls')).stdout).toBe('');
  expect((await longvlm('cache', 'nonsense')).code).toBe(2);
});

test('a cache that cannot be is named, with the way around it', async () => {
  const { code, stderr } = await start(['ask', pico.video, 'What?', ...models, ...sampled], {
    LONGVLM_CACHE: pico.video,
  }).result;
  expect(code).toBe(1);
  expect(stderr).toMatch(/^longvlm: The cache folder .*video\.mp4.videos cannot be made .*--no-cache\.\n$/);
});

test.skipIf(process.platform === 'win32')(
  'equal calls at once encode once, 20 in one process and 20 in four',
  async () => {
    const [log, ffmpeg] = [join(folder, 'ffmpeg.log'), join(folder, 'ffmpeg')];
    const { path } = await findFfmpeg();
    const script = `#!/bin/sh\ncase "$*" in *-version*) ;; *) echo "$*" >> "${log}" ;; esac\nexec "${path}" "$@"\n`;
    await writeFile(ffmpeg, script, { mode: 0o755 });
    const { projector: _, llm: __, ...visionOnly } = picoOptions;
    const options = { ...visionOnly, ffmpeg };
    /** How ffmpeg was run since the last time. */
    const runs = async () => {
      const lines = await readFile(log, 'utf8').catch(() => '');
      await writeFile(log, '');
      // Each run has marks of its own.
      return lines
        .replace(/\b[0-9a-f]{24}\b/g, 'mark')
        .split('\n')
        .sort();
    };
    const vlm = await LongVLM.load(options);
    try {
      const { global } = await vlm.encode(pico.video);
      const alone = await runs();
      expect(alone.length).toBeGreaterThan(1);

      const cache = await FeaturesCache.open(join(folder, 'one'));
      const encoded = await Promise.all(Array.from({ length: 20 }, () => vlm.encode(pico.video, { cache })));
      for (const features of encoded) expect(features.global).toEqual(global);
      expect(await runs()).toEqual(alone);

      const task = { options, video: pico.video, folder: join(folder, 'four'), calls: 5 };
      const children = Array.from({ length: 4 }, () => startChild('encoder.mjs', task));
      await Promise.all(children.map((child) => child.printed('ready')));
      for (const child of children) child.send();
      for (const child of children) {
        expect(await child.exited).toEqual({ code: 0, signal: null });
        expect(JSON.parse(child.lines.at(-1)!)).toEqual(Array.from({ length: 5 }, () => [...global.data]));
      }
      expect(await runs()).toEqual(alone);
      expect(await readdir(join(folder, 'four'))).toHaveLength(1);
    } finally {
      await vlm.dispose();
    }
  },
);
