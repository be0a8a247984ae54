import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { start } from '../fixtures/commandLine.js';
import { pico } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

const LONGVLM_CACHE = join(await temporaryFolder(), 'cache');
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
