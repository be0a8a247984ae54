// Aborts runs of a graph that takes about a second, at random moments, and counts what that takes and leaves behind.
//
//   node bench/aborts.mjs [--times 1000]
import { readdirSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { GraphBuilder } from '../dist/compute/graphBuilder.js';
import { ortRuntime } from '../dist/compute/runtime.js';

const { values } = parseArgs({ options: { times: { type: 'string', default: '1000' } } });
const [size, rows] = [64, 16];
const builder = new GraphBuilder('many steps');
let x = builder.input('x', ['n', size, size]);
for (let i = 0; i < 1000; i++) x = builder.node('MatMul', [x, x]);
builder.output('y', x, ['n', size, size]);
const graph = await ortRuntime().open(await builder.build(), { name: 'The graph' });
const tensor = (count) => ({ type: 'float32', data: new Float32Array(count * size * size), dims: [count, size, size] });
const run = (count, signal) => graph.run({ x: tensor(count) }, { y: tensor(count) }, { move: true, signal });

let whole = 0;
let many = rows;
for (; whole < 1000; many *= 2) {
  const started = performance.now();
  await run(many);
  whole = performance.now() - started;
}
many /= 2;

const memory = () => Math.round(process.memoryUsage().rss / 2 ** 20);
const threads = () => (process.platform === 'linux' ? readdirSync('/proc/self/task').length : 0);
const rejected = [];
const idle = [];
let before;
for (let time = 0; time < Number(values.times); time++) {
  // What is allocated once is there by then.
  if (time === 50) before = { memory: memory(), threads: threads() };
  const controller = new AbortController();
  const running = run(many, controller.signal).catch(() => {});
  await setTimeout(Math.random() * 100);
  const started = performance.now();
  controller.abort();
  await running;
  rejected.push(performance.now() - started);
  await run(1);
  idle.push(performance.now() - started);
}
const after = { memory: memory(), threads: threads() };
await graph.dispose();

const told = (times) => {
  const sorted = times.toSorted((a, b) => a - b);
  return `${sorted[sorted.length >> 1].toFixed(1)} ms in the median, ${sorted.at(-1).toFixed(1)} at most`;
};
console.log(`${values.times} aborts of a run of ${Math.round(whole)} ms`);
console.log(`until the promise rejects: ${told(rejected)}`);
console.log(`until another run of one row is done: ${told(idle)}`);
if (before)
  console.log(`memory ${before.memory} -> ${after.memory} MiB, threads ${before.threads} -> ${after.threads}`);
