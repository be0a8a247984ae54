// Three workers of a queue on this machine against one process, on jobs whose time goes into decoding, in turns:
// node scripts/compare-cluster.mjs [--videos 24] [--rounds 3]
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { freePort, serverProgram, start, startServer, startWorker } from './cluster.mjs';

const { values } = parseArgs({
  options: { videos: { type: 'string', default: '24' }, rounds: { type: 'string', default: '3' } },
});
const program = serverProgram();
const folder = mkdtempSync(join(tmpdir(), 'longvlm-compare-'));
const [videos, data] = ['videos', 'data'].map((name) => join(folder, name));
for (const each of [videos, data]) mkdirSync(each);
// A key frame every 10 s: for 25 frames of a minute, nearly all of it is decoded.
for (let i = 0; i < Number(values.videos); i++) {
  const source = `testsrc2=size=1280x720:rate=30:duration=40,hue=h=${i * 7}`;
  const how = ['-c:v', 'libx264', '-preset', 'ultrafast', '-g', '300', '-pix_fmt', 'yuv420p'];
  execFileSync('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', source, ...how, join(videos, `${i}.mp4`)]);
}
const model = ['--threads', '1', '--gpu', 'off', '--no-cache'];
const asked = ['batch', videos, '--question', 'What happens last?', '--frames', '25', '--json', '--max-tokens', '8'];
const port = await freePort();
const queue = `redis://127.0.0.1:${port}`;
const server = await startServer(program, port, data);
const workers = [];
for (let i = 0; i < 3; i++)
  workers.push(await startWorker(['--queue', queue, '--folder', videos, '--jobs', '2', ...model]));

let runs = 0;
/** Milliseconds that a batch takes, without the time until it is ready. */
async function time(...flags) {
  // Of another path, so that no result is there yet.
  const { code, output } = await start([
    ...asked,
    '-o',
    join(folder, `${runs++}.jsonl`),
    '--seed',
    String(runs),
    ...flags,
  ]).ended;
  if (code !== 0) throw new Error(output);
  return JSON.parse(output.slice(output.lastIndexOf('{"output"'))).timings.total;
}
const rounds = [];
for (let i = 0; i < Number(values.rounds); i++) {
  const turns = [
    async () => ['cluster', await time('--queue', queue)],
    async () => ['one', await time('--parallel', '6', ...model)],
  ];
  if (i % 2 === 1) turns.reverse();
  const round = { load: loadavg()[0].toFixed(1) };
  for (const turn of turns) {
    const [name, ms] = await turn();
    round[name] = ms;
  }
  rounds.push(round);
  console.log(`${JSON.stringify(round)} ratio ${(round.cluster / round.one).toFixed(2)}`);
}
const sorted = rounds.map(({ cluster, one }) => cluster / one).sort((a, b) => a - b);
console.log(
  `three workers take ${sorted[sorted.length >> 1].toFixed(2)} times as long as one process (median of ${rounds.length} rounds)`,
);
for (const { child } of workers) child.kill('SIGTERM');
await Promise.all(workers.map(({ ended }) => ended));
server.kill('SIGTERM');
rmSync(folder, { recursive: true, force: true });
