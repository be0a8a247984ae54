// Starts a Valkey or Redis server, three workers, and a batch over small videos: npm run demo:cluster [-- --videos N] [--store s3]
// With --store s3 the workers share no folder for features, but a bucket of an S3-compatible server.
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
  options: { videos: { type: 'string', default: '24' }, store: { type: 'string', default: 'folder' } },
});
const program = serverProgram();
const folder = mkdtempSync(join(tmpdir(), 'longvlm-cluster-'));
const [videos, data, features] = ['videos', 'data', 'features'].map((name) => join(folder, name));
for (const each of [videos, data, features]) mkdirSync(each);
const world = `${root}test/fixtures/world`;
const sources = readdirSync(world).filter((name) => /\.(mp4|mkv|webm|avi|mov|gif)$/.test(name));
for (let i = 0; i < Number(values.videos); i++) {
  const source = sources[i % sources.length];
  copyFileSync(join(world, source), join(videos, `${String(i).padStart(3, '0')}-${source}`));
}

const port = await freePort();
const queue = `redis://127.0.0.1:${port}`;
const server = await startServer(program, port, data);
console.error(`${serverVersion(program)} at ${queue}`);
const store = await featuresIn(values.store, features);
console.error(`features: ${store.flags.join(' ')}`);
const taken = [0, 0, 0];
const workers = await Promise.all(
  taken.map((_, i) =>
    startWorker(
      ['--queue', queue, '--folder', videos, ...store.flags, '--threads', '1', '--gpu', 'off'],
      store.envOf(i),
      (line) => {
        if (/ item done /.test(line)) taken[i]++;
      },
    ),
  ),
);
console.error('three workers; Ctrl-C ends all');
const output = join(folder, 'results.jsonl');
const begun = performance.now();
const question = 'What happens last?';
const batch = start(['batch', videos, '--question', question, '-o', output, '--queue', queue], {}, (line) =>
  console.error(line),
);
const stop = () => batch.child.kill('SIGINT');
process.once('SIGINT', stop);
const { code } = await batch.ended;
const lines =
  code === 0
    ? readFileSync(output, 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
    : [];
for (const { id, answer, error } of lines.slice(0, 5)) console.log(`${id}: ${answer ?? error?.message}`);
console.log(
  `${lines.length} results in ${((performance.now() - begun) / 1000).toFixed(1)} s; jobs of each worker: ${taken.join(', ')}; ` +
    `videos with features in the store: ${store.count()}`,
);
for (const { child } of workers) child.kill('SIGTERM');
await Promise.all(workers.map(({ ended }) => ended));
server.kill('SIGTERM');
await store.close();
rmSync(folder, { recursive: true, force: true });
process.exitCode = code ?? 1;
