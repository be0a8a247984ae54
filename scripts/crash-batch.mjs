// Kills `longvlm batch` with -9 at random moments, and lets it go on each time: in the end there is one result for each video, the
// same as without kills, and no process and no file is left.
//   node scripts/crash-batch.mjs [--videos 300] [--kills 20] [--seed 1] [--cut]
// With --cut, every third kill also cuts the last line of the results at a random byte, as a power failure may.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { findFfmpeg } from '../dist/video/ffmpeg.js';
import { generator, litter, orphans } from './crashed.mjs';

const { values: flags } = parseArgs({
  options: {
    videos: { type: 'string', default: '300' },
    kills: { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
    cut: { type: 'boolean', default: false },
  },
});
const [videos, kills, seed] = [flags.videos, flags.kills, flags.seed].map(Number);
const random = generator(seed);
const cli = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const place = mkdtempSync(join(tmpdir(), 'longvlm-crash-batch-'));
const folder = join(place, 'videos');
const faults = [];

try {
  await makeVideos();
  const expected = join(place, 'expected.jsonl');
  await run(expected).ended;
  const output = join(place, 'results.jsonl');
  const seen = { killed: 0, starting: 0, torn: 0, cut: 0 };
  while (seen.killed < kills) await killOnce(output, seen);
  const before = linesOf(output).length;
  const { code, stderr } = await run(output).ended;
  if (code !== 0) faults.push(`the last run ends with ${code}: ${stderr.slice(-500)}`);
  check(output, expected);
  const left = [...(await orphans(place)), ...litter(place), ...readdirSync(join(place, 'temporary'))];
  if (left.length > 0) faults.push(`left behind: ${left.join('; ')}`);
  console.log(
    JSON.stringify({
      videos,
      ...seen,
      beforeTheLastRun: before,
      results: linesOf(output).length,
      faults: faults.length,
    }),
  );
} finally {
  await orphans(place);
  rmSync(place, { recursive: true, force: true });
}
for (const fault of faults) console.log(fault);
process.exitCode = faults.length > 0 ? 1 : 0;

/** Videos of a second, each of other colours. */
async function makeVideos() {
  const { path } = await findFfmpeg();
  for (const name of ['videos', 'cache', 'temporary']) mkdirSync(join(place, name));
  for (let i = 0; i < videos; i++) {
    const colour = Math.floor(random() * 2 ** 24)
      .toString(16)
      .padStart(6, '0');
    const input = `testsrc2=s=64x48:r=10:d=1,drawbox=w=32:h=24:t=fill:c=0x${colour}`;
    const file = join(folder, `${String(i).padStart(4, '0')}.mp4`);
    const args = ['-v', 'error', '-nostdin', '-f', 'lavfi', '-i', input, '-pix_fmt', 'yuv420p', '-threads', '1', file];
    execFileSync(path, args);
  }
}

/** Runs the batch until it has written a random number of results, or for a random time, and kills it. */
async function killOnce(output, seen) {
  const before = sizeOf(output);
  const most = Math.floor((videos / kills) * 1.2);
  const more = Math.floor(random() * (most + 1));
  const { child, ended } = run(output);
  if (more === 0) await Promise.race([setTimeout(random() * 1500), ended]);
  else {
    const wanted = linesOf(output).length + more;
    while (child.exitCode === null && linesOf(output).length < wanted) await setTimeout(5);
    await Promise.race([setTimeout(random() * 150), ended]);
  }
  child.kill('SIGKILL');
  const { signal, code, stderr } = await ended;
  if (signal !== 'SIGKILL') {
    if (code !== 0) throw new Error(`a run ends with ${code ?? signal}: ${stderr.slice(-500)}`);
    throw new Error('All was answered before the last kill. Give more --videos.');
  }
  seen.killed++;
  if (sizeOf(output) === before) seen.starting++;
  if (isTorn(output)) seen.torn++;
  const still = await orphans(place);
  if (still.length > 0) faults.push(`after kill ${seen.killed}: ${still.join('; ')}`);
  if (flags.cut && seen.killed % 3 === 0 && cutLastLine(output)) seen.cut++;
}

function run(output) {
  const sampled = ['--frames', '10', '--threads', '1', '--gpu', 'off', '--parallel', '3', '--no-cache'];
  const asked = ['--question', 'What happens last?', '--temperature', '0', '--max-tokens', '12'];
  const ours = { LONGVLM_CRASH: place, LONGVLM_CACHE: join(place, 'cache'), TMPDIR: join(place, 'temporary') };
  const child = spawn(process.execPath, [cli, 'batch', folder, '-o', output, ...asked, ...sampled], {
    env: { ...process.env, ...ours },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk) => (stderr += chunk));
  // Not `close`: a child that lives on may hold the pipe.
  const ended = new Promise((resolve) =>
    child.on('exit', (code, signal) => setImmediate(() => resolve({ code, signal, stderr }))),
  );
  return { child, ended };
}

/** One whole result for each video, as in the file of a run that was not killed. */
function check(output, expected) {
  if (isTorn(output)) faults.push('the last line is torn');
  const results = linesOf(output).map((line) => JSON.parse(line));
  const answers = new Map(results.map(({ video, answer }) => [video, answer]));
  if (answers.size !== results.length) faults.push(`${results.length - answers.size} results are there twice`);
  const due = linesOf(expected).map((line) => JSON.parse(line));
  if (due.length !== videos) faults.push(`${due.length} of ${videos} results without kills`);
  for (const { video, answer } of due)
    if (answers.get(video) !== answer) faults.push(`${video}: ${answers.get(video)} where ${answer} is due`);
  if (results.length !== readdirSync(folder).length) faults.push(`${results.length} results of ${videos} videos`);
}

function textOf(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function linesOf(file) {
  return textOf(file).split('\n').slice(0, -1);
}

function isTorn(file) {
  return !textOf(file).endsWith('\n') && textOf(file) !== '';
}

function sizeOf(file) {
  return Buffer.byteLength(textOf(file));
}

/** @returns whether there was a line */
function cutLastLine(file) {
  const text = textOf(file);
  const last = text.trimEnd().lastIndexOf('\n') + 1;
  if (text.length === 0) return false;
  truncateSync(
    file,
    Buffer.byteLength(text.slice(0, last)) + Math.floor(random() * Buffer.byteLength(text.slice(last))),
  );
  return true;
}
