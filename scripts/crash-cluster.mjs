// Three workers of a queue are killed with SIGKILL at random moments, the server and the batch too: all results must be there, each
// once, and the same as without. node scripts/crash-cluster.mjs [--videos 300] [--kills 20] [--seed 7] [--store s3]
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import {
  featuresIn,
  freePort,
  root,
  serverProgram,
  serverVersion,
  start,
  startServer,
  startWorker,
} from './cluster.mjs';

const { values } = parseArgs({
  options: {
    videos: { type: 'string', default: '300' },
    kills: { type: 'string', default: '20' },
    seed: { type: 'string', default: '7' },
    store: { type: 'string', default: 'folder' },
  },
});
const count = Number(values.videos);
const kills = Number(values.kills);
let state = Number(values.seed) >>> 0;
/** A number below `most`, the same for the same seed. */
const random = (most) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * most);
};

const program = serverProgram();
const folder = mkdtempSync(join(tmpdir(), 'longvlm-crash-cluster-'));
const [videos, data, features] = ['videos', 'data', 'features'].map((name) => join(folder, name));
for (const each of [videos, data, features]) mkdirSync(each);
const world = `${root}test/fixtures/world`;
const sources = readdirSync(world).filter((name) => /\.(mp4|mkv|webm|avi|mov|gif)$/.test(name));
const names = Array.from({ length: count }, (_, i) => `${String(i).padStart(3, '0')}-${sources[i % sources.length]}`);
for (const name of names) copyFileSync(join(world, name.slice(4)), join(videos, name));
const question = 'What happens last?';
const model = ['--threads', '1', '--gpu', 'off'];

const port = await freePort();
const queue = `redis://127.0.0.1:${port}`;
let server = await startServer(program, port, data);
let done = 0;
const store = await featuresIn(values.store, features);
const args = ['--queue', queue, '--folder', videos, ...store.flags, '--stalled-seconds', '6', ...model];
const newWorker = (place) =>
  startWorker(args, store.envOf(place), (line) => {
    if (/ item done /.test(line)) done++;
  });
const workers = await Promise.all([0, 1, 2].map(newWorker));
const output = join(folder, 'results.jsonl');
const newBatch = (...flags) =>
  start(['batch', videos, '--question', question, '-o', output, '--queue', queue, ...flags]);
const lines = () => (existsSync(output) ? readFileSync(output, 'utf8').trimEnd().split('\n').filter(Boolean) : []);

let batch = newBatch();
let ended = false;
let result;
const follow = (which) =>
  which.ended.then((value) => {
    if (which !== batch) return;
    ended = true;
    result = value;
  });
follow(batch);
const killed = { worker: 0, server: 0, batch: 0 };
for (let i = 0; i < kills && !ended; i++) {
  await setTimeout(500 + random(2000));
  if (ended) break;
  const what = i % 7 === 6 ? 'server' : i % 7 === 3 ? 'batch' : 'worker';
  killed[what]++;
  if (what === 'worker') {
    const which = random(workers.length);
    workers[which].child.kill('SIGKILL');
    await workers[which].ended;
    workers[which] = await newWorker(which);
  } else if (what === 'server') {
    server.kill('SIGKILL');
    await setTimeout(random(3000));
    server = await startServer(program, port, data);
  } else {
    const old = batch;
    batch = undefined;
    old.child.kill('SIGKILL');
    await old.ended;
    batch = newBatch();
    follow(batch);
  }
  console.error(`killed a ${what}: ${lines().length} of ${count} results`);
}
result ??= await batch.ended;
// What failed, as its workers were lost too often, is asked again.
let retried = 0;
for (; result.code === 1 && retried < 3; retried++) result = await newBatch('--retry').ended;
for (const { child } of workers) child.kill('SIGTERM');
await Promise.all(workers.map(({ ended: worker }) => worker));
server.kill('SIGTERM');
await store.close();

const results = lines()
  .map((line) => JSON.parse(line))
  .filter(({ id }) => id !== undefined);
const byVideo = new Map();
for (const { id, answer, error } of results) {
  const name = names.find((each) => String(id).includes(each)) ?? String(id);
  byVideo.set(name, [...(byVideo.get(name) ?? []), answer ?? `failed: ${error?.message}`]);
}
const missing = names.filter((name) => !byVideo.has(name));
const twice = [...byVideo].filter(([, answers]) => answers.length > 1).map(([name]) => name);
const failed = [...byVideo].filter(([, [answer]]) => answer.startsWith('failed: '));
/** Copies of one video have one answer, that of one process alone. */
const alone = join(folder, 'alone');
mkdirSync(alone);
for (const source of sources) copyFileSync(join(world, source), join(alone, source));
const expected = new Map();
const one = start(['batch', alone, '--question', question, '-o', join(folder, 'alone.jsonl'), ...model], {
  LONGVLM_CACHE: join(folder, 'cache'),
});
await one.ended;
for (const line of readFileSync(join(folder, 'alone.jsonl'), 'utf8').trimEnd().split('\n')) {
  const { id, answer } = JSON.parse(line);
  const source = sources.find((each) => String(id).includes(each));
  if (source !== undefined) expected.set(source, answer);
}
const other = [...byVideo].filter(([name, [answer]]) => answer !== expected.get(name.slice(4)));
console.log(
  `${serverVersion(program)}; features in a ${values.store === 's3' ? 'bucket' : 'folder'}; ${count} videos; killed: ${killed.worker} workers, ${killed.server} times the server, ${killed.batch} times the batch; ` +
    `${results.length} results, ${missing.length} missing, ${twice.length} twice, ${failed.length} failed, ` +
    `${other.length} other than those of one process; jobs that workers did: ${done}; asked again with --retry: ${retried} times; the batch's last exit code: ${result.code}`,
);
for (const [name, [answer]] of other.slice(0, 3))
  console.log(`${basename(name)}: ${answer} (not ${expected.get(name.slice(4))})`);
rmSync(folder, { recursive: true, force: true });
process.exitCode = missing.length + twice.length + failed.length + other.length === 0 && byVideo.size === count ? 0 : 1;
