// Everywhere that people put a package: each row is a project, or a way to use one, that was run.
import { chmodSync, cpSync, readdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { arm64Rows } from './arm64.mjs';
import { bundlerRows } from './bundlers.mjs';
import { checkerRows } from './checkers.mjs';
import { electronRows } from './electron.mjs';
import { installedIn, project, whereIs } from './project.mjs';
import { answer, merged, mergeModule } from './question.mjs';
import { installed, row } from './rows.mjs';
import { slimRows } from './slim.mjs';

const workers = `import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { ask } from './asking.mjs';

if (isMainThread) {
  const said = await Promise.all([1, 2, 3].map(() => new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url));
    worker.once('message', resolve).once('error', reject);
  })));
  console.log(said.join(' '));
} else parentPort.postMessage(await ask());
`;

const clustered = `import cluster from 'node:cluster';
import { ask } from './asking.mjs';

if (cluster.isPrimary) {
  const said = await Promise.all([1, 2].map(() => new Promise((resolve) => cluster.fork().once('message', resolve))));
  console.log(said.join(' '));
  for (const worker of Object.values(cluster.workers)) worker.disconnect();
} else process.send(await ask());
`;

const child = `import { fork } from 'node:child_process';
import { once } from 'node:events';

const [code] = await once(fork('ask.mjs'), 'exit');
process.exitCode = code;
`;

async function* processRows(user) {
  const made = await installed(user, 'processes');
  yield row('import (ESM)', await made.node(['ask.mjs']));
  yield row(`require() (Node ${process.version})`, await made.node(['ask.cjs']));
  made.write('workers.mjs', workers);
  yield row('three worker threads at once', await made.node(['workers.mjs']), [answer, answer, answer].join(' '));
  made.write('cluster.mjs', clustered);
  yield row('cluster, two workers', await made.node(['cluster.mjs']), [answer, answer].join(' '));
  made.write('child.mjs', child);
  yield row('a child process', await made.node(['child.mjs']));
  const program = [join(made.folder, 'node_modules/.bin/longvlm'), 'ask'];
  const demo = 'node_modules/longvlm/models/nano/demo.mp4';
  yield row('npx longvlm ask', await made.node([...program, demo, 'What comes right after the red hearts?']));
}

/** Takes the right to write from everybody. */
function protect(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) protect(path);
    if (!entry.isSymbolicLink()) chmodSync(path, statSync(path).mode & ~0o222);
  }
}

async function* placeRows(user) {
  const made = await installed(user, 'places');
  const odd = project(user, 'Ünïcode & Leerzeichen/das Projekt', { home: 'shared' });
  cpSync(made.folder, odd.folder, { recursive: true, verbatimSymlinks: true });
  yield row('a path with spaces and umlauts', await odd.node(['ask.mjs']));
  renameSync(odd.folder, join(user.folder, 'projects', 'moved'));
  if (process.getuid?.() !== 0 || whereIs('setpriv') === undefined)
    return void (yield { name: 'another user, read-only node_modules', skipped: true, note: 'needs root and setpriv' });
  chmodSync(user.folder, 0o755);
  chmodSync(made.home, 0o777);
  const cache = join(made.home, 'cache-of-nobody');
  protect(join(made.folder, 'node_modules'));
  yield row(
    'another user, read-only node_modules',
    await made.node(['ask.mjs'], { as: 65534, more: { XDG_CACHE_HOME: cache } }),
  );
}

/** What needs no addon, ONNX Runtime or llama.cpp. */
const light = `import { readFile } from 'node:fs/promises';
import { VideoFeatures } from 'longvlm';
import { mergeTokens } from 'longvlm/kernels';

const features = await VideoFeatures.load('demo.safetensors');
const error = await mergeTokens({ type: 'float32', data: new Float32Array(8).fill(1), dims: [2, 4] }, { heads: 1, keep: 1 }).catch((e) => e);
console.log(features.local.dims.length, error.code, error.message.split('\\n- ').length > 5);
`;

async function* installRows(user) {
  const made = await installed(user, 'installs');
  const unscripted = await installed(user, 'ignore-scripts', ['longvlm'], ['--ignore-scripts']);
  yield row('--ignore-scripts', await unscripted.node(['ask.mjs']));
  const offline = await installed(user, 'offline', ['longvlm'], ['--offline']);
  yield row('offline, from npm’s cache', await offline.node(['ask.mjs']));

  const bare = await installed(user, 'omit-optional', ['longvlm'], ['--omit=optional']);
  const cli = 'node_modules/longvlm/dist/cli/main.js';
  const demo = 'node_modules/longvlm/models/nano/demo.mp4';
  const encoded = await made.node([cli, 'encode', demo, '-o', join(bare.folder, 'demo.safetensors'), '--no-cache']);
  bare.write('light.mjs', light);
  const used = encoded.code === 0 ? await bare.node(['light.mjs']) : encoded;
  yield row('--omit=optional: features load, kernels say why not', used, '3 ERR_LONGVLM_ADDON true');
  for (const command of ['models', 'info']) {
    const { code, stdout, stderr } = await bare.node([cli, command]);
    const passed = code === 0 && stdout.length > 0 && !/\n\s+at /.test(stderr);
    yield { name: `--omit=optional: longvlm ${command}`, passed, note: passed ? '' : `${code}: ${stdout}${stderr}` };
  }
  const refused = await bare.node([cli, 'ask', demo, 'What?']);
  const said = refused.code === 1 && refused.stdout === '' && !/\n\s+at /.test(refused.stderr);
  yield { name: '--omit=optional: longvlm ask says why not', passed: said, note: said ? '' : refused.stderr };

  const light_ = await installed(user, 'kernels', ['@longvlm/kernels']);
  light_.write('merge.mjs', mergeModule('@longvlm/kernels'));
  const { packages, bytes } = installedIn(light_.folder);
  yield {
    ...row('@longvlm/kernels alone', await light_.node(['merge.mjs']), merged),
    bytes,
    packages: packages.length,
  };
}

const notHere = [
  ['Alpine (musl)', 'no musl C++ compiler and no Alpine here; llama.cpp and ONNX Runtime have no builds for it in npm'],
  ['Electron itself', 'its install downloads Electron from outside npm'],
  ['macOS, Windows', 'other machines: .github/workflows/release.yml'],
];

/** Each opens a project of its own, so that one can be run alone: `--only`. */
const groups = {
  processes: processRows,
  places: placeRows,
  installs: installRows,
  'arm64 under qemu': arm64Rows,
  'TypeScript, test runners': checkerRows,
  bundlers: bundlerRows,
  Electron: electronRows,
  'Debian slim': slimRows,
};

/** @yields rows of the table */
export async function* useRows(user, only) {
  for (const [name, rows] of Object.entries(groups)) {
    if (only?.test(name) === false) continue;
    try {
      yield* rows(user);
    } catch (error) {
      yield { name, passed: false, note: error.message };
    }
  }
  for (const [name, note] of notHere) if (only?.test(name) ?? true) yield { name, skipped: true, note };
}
