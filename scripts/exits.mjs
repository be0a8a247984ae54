// Ends processes and worker threads at random moments while graphs are loaded, run and aborted: none may end by a signal that
// nobody sent, or hang.
//
//   node scripts/exits.mjs [--rounds 200] [--jobs 2] [--device cpu]
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '200' },
    jobs: { type: 'string', default: '2' },
    device: { type: 'string', default: 'cpu' },
  },
});
const patienceMs = 60_000;
const module = (path) => JSON.stringify(new URL(`../dist/${path}`, import.meta.url).href);
const encoding = `
import { GraphBuilder } from ${module('compute/graphBuilder.js')};
import { ortRuntime } from ${module('compute/runtime.js')};
const size = 128;
const builder = new GraphBuilder('many steps');
let x = builder.input('x', ['n', size, size]);
for (let i = 0; i < 200; i++) x = builder.node('MatMul', [x, x]);
builder.output('y', x, ['n', size, size]);
const model = await builder.build();
const tensor = () => ({ type: 'float32', data: new Float32Array(8 * size * size), dims: [8, size, size] });
const runtime = ortRuntime({ device: ${JSON.stringify(values.device)}, threads: 2 });
async function encode() {
  for (;;) {
    const graph = await runtime.open(model, { name: 'The graph', batch: 4 });
    const run = (signal) => graph.run({ x: tensor() }, { y: tensor() }, { signal }).catch(() => {});
    for (let i = 0; i < 3; i++) await Promise.all([run(), run(AbortSignal.timeout(20))]);
    void graph.dispose();
  }
}
void encode();
void encode();
console.log('encoding');
`;
const later = (code) => `${encoding}setTimeout(() => { ${code} }, Math.random() * 80);`;
const worker = (code) => `
import { Worker } from 'node:worker_threads';
import { setTimeout } from 'node:timers/promises';
const start = async () => {
  const worker = new Worker(new URL('encode.mjs', import.meta.url));
  await new Promise((resolve) => worker.once('online', resolve));
  await setTimeout(50 + Math.random() * 250);
  return worker;
};
${code}`;

// How each kind ends: the program, and the exit code or signal.
const kinds = {
  'process.exit()': [later('process.exit(7)'), 7],
  'an exception that nobody catches': [later('throw new Error("not caught")'), 1],
  SIGTERM: [encoding, 'SIGTERM'],
  'worker.terminate()': [
    worker('for (let i = 0; i < 3; i++) await (await start()).terminate(); process.exitCode = 7;'),
    7,
  ],
  'process.exit() beside a worker': [worker('await start(); process.exit(7);'), 7],
};

const names = Object.keys(kinds);

const folder = mkdtempSync(join(tmpdir(), 'longvlm-exits-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
writeFileSync(join(folder, 'encode.mjs'), encoding);
for (const [index, [program]] of Object.values(kinds).entries()) writeFileSync(join(folder, `${index}.mjs`), program);

/** Runs one process of a kind to its end; resolves to what was wrong with it, if anything. */
function round(kind) {
  const wanted = kinds[kind][1];
  const program = join(folder, `${names.indexOf(kind)}.mjs`);
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'pipe'] });
    let printed = '';
    child.stderr.on('data', (data) => {
      printed += data;
    });
    child.stdout.once('data', () => {
      if (kind === 'SIGTERM') setTimeout(() => child.kill('SIGTERM'), Math.random() * 80);
    });
    let hangs = false;
    const patience = setTimeout(() => {
      hangs = true;
      child.kill('SIGKILL');
    }, patienceMs);
    child.once('close', (code, signal) => {
      clearTimeout(patience);
      const ended = hangs ? 'a hang' : (code ?? signal);
      resolve(ended === wanted ? undefined : `${kind} ended by ${ended}\n${printed}`);
    });
  });
}

const wrong = [];
let begun = 0;
async function rounds() {
  while (begun < Number(values.rounds)) {
    const fault = await round(names[begun++ % names.length]);
    if (fault === undefined) continue;
    wrong.push(fault);
    console.error(fault);
  }
}
await Promise.all(Array.from({ length: Number(values.jobs) }, rounds));
console.log(JSON.stringify({ rounds: begun, kinds: names.length, faults: wrong.length }));
process.exitCode = wrong.length > 0 ? 1 : 0;
