// Times the reducers of a video's tokens beside their authors' steps in PyTorch and beside their bounds, all in turn.
//
//   npx tsc -p bench && LONGVLM_PYTHON=python node bench/reducers.mjs [--shape 32,196,3584] [--rounds 5] [--only NAME,...]
//
// Without a LONGVLM_PYTHON that has torch, ours and the bounds alone. A bound is reading the tokens as often as a method
// must (twice where tokens are compared with a mean of all of them; thrice for vidCom2), and its matrix products of all pairs,
// each pair once, at the highest rate measured here. The error is that of each token's most similar kept token,
// |x - kept| / |x| over all tokens. Threads: LONGVLM_NUM_THREADS. With --clock cpu, times are those that all threads of each
// process spent on the processor, which other load on the machine disturbs less.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Bounds } from '../build/bench/bench/bounds.js';
import { median } from '../build/bench/bench/results.js';
import {
  aim,
  assignToAnchors,
  evs,
  fastVid,
  flashVid,
  random,
  uniform,
  vCast,
  vidCom2,
} from '../dist/kernels/index.js';

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: '32,196,3584' },
    ratio: { type: 'string', default: '0.25' },
    rounds: { type: 'string', default: '5' },
    only: { type: 'string' },
    clock: { type: 'string', default: 'wall' },
  },
});
const shape = values.shape.split(',').map(Number);
const [frames, patches, channels] = shape;
const retentionRatio = Number(values.ratio);
const threads = Number(process.env.LONGVLM_NUM_THREADS ?? availableParallelism());
process.env.LONGVLM_NUM_THREADS = String(threads);

const tokens = { type: 'float32', data: video(), dims: shape };
const attention = {
  type: 'float32',
  data: Float32Array.from({ length: frames * patches }, () => Math.random() ** 3),
  dims: [frames, patches],
};

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
/** Multiply-adds of the products of `rows` rows with each other, each pair once; or with `others`. */
const flopsOf = (rows, others = rows / 2) => 2 * rows * others * channels;

const methods = {
  vCast: { reduce: vCast, reads: 2 },
  fastVid: {
    reduce: fastVid,
    reads: 2,
    options: { attention },
    flops: ({ segments }) => {
      const context = Math.floor(Math.floor(patches * retentionRatio) * 0.4);
      const rest = patches - Math.floor(patches * retentionRatio) + context;
      return sum(
        segments.map((length) => {
          const anchorFrames = Math.ceil(length / 4);
          const anchors = Math.floor((context * length) / anchorFrames);
          const taken = anchors === context ? rest : rest * length;
          return anchorFrames * (flopsOf(rest) + flopsOf(taken, anchors));
        }),
      );
    },
  },
  flashVid: {
    reduce: flashVid,
    reads: 2,
    flops: ({ segments, text }) => {
      const others = patches - Math.ceil(Math.ceil(patches * retentionRatio) * 0.7);
      const merged = Number(/(\d+) merged over time/.exec(text)?.[1]);
      const overTime = (frames - segments.length) * flopsOf(others, others);
      return frames * (flopsOf(patches) + flopsOf(others - merged / frames)) + overTime;
    },
  },
  evs: { reduce: evs, reads: 1 },
  vidCom2: { reduce: vidCom2, reads: 3 },
  aim: {
    reduce: aim,
    reads: 2,
    options: { steps: 2 },
    flops: () => frames * (flopsOf(patches / 2, patches / 2) + flopsOf(patches / 4, patches / 4)),
  },
  uniform: { reduce: uniform, reads: 0 },
  random: { reduce: random, reads: 0 },
};

/** Scenes of a few frames; patches drift, some are new; channels have a mean and scales of their own, as a projector's have. */
function video() {
  const data = new Float32Array(new SharedArrayBuffer(4 * frames * patches * channels));
  let state = 7;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state * 2 ** -31;
  };
  const scales = Float32Array.from({ length: channels }, () => Math.exp(1.5 * next()));
  const means = scales.map((scale) => scale * next() * 0.5);
  const size = patches * channels;
  let cut = true;
  for (let row = 0; row < frames * patches; row++) {
    if (row % patches === 0) cut = row === 0 || (row / patches) % 6 === 0;
    const fresh = cut || (row * 7 + Math.floor(row / patches)) % 11 === 0;
    for (let c = 0, i = row * channels; c < channels; c++, i++) {
      const noise = scales[c] * (next() + next());
      data[i] = fresh ? means[c] + noise : data[i - size] + 0.15 * noise;
    }
  }
  return data;
}

/** Asks PyTorch, in a process of its own, to run a method on the same tokens; undefined where there is none. */
async function startPytorch() {
  const python = process.env.LONGVLM_PYTHON;
  if (!python) return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'longvlm-reducers-'));
  const files = [tokens, attention].map(({ data }, i) => {
    const path = join(folder, String(i));
    writeFileSync(path, data);
    return path;
  });
  const script = fileURLToPath(new URL('reducers.py', import.meta.url));
  const args = [script, ...files, ...shape.map(String), '--threads', String(threads), '--clock', values.clock];
  // Otherwise its threads spend time on the processor while they wait.
  const passive = values.clock === 'cpu' ? { OMP_WAIT_POLICY: 'PASSIVE' } : {};
  const env = { ...process.env, ...passive, OMP_NUM_THREADS: String(threads) };
  const child = spawn(python, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${python} ended: has it torch?`);
    return JSON.parse(value);
  };
  const { version } = await answer();
  rmSync(folder, { recursive: true });
  return {
    version,
    run: (method) => {
      child.stdin.write(`${JSON.stringify({ method, ratio: retentionRatio })}\n`);
      return answer();
    },
    end: () => child.stdin.end(),
  };
}

/** |x - kept| / |x|, of each token and the kept token most similar to it. */
async function errorOf({ tokens: kept }) {
  const both = new Float32Array(tokens.data.length + kept.data.length);
  both.set(kept.data);
  both.set(tokens.data, kept.data.length);
  const count = kept.dims[0];
  const dims = [both.length / channels, channels];
  const anchors = Int32Array.from({ length: count }, (_, i) => i);
  const { assignment } = await assignToAnchors({ type: 'float32', data: both, dims }, anchors);
  let [difference, all] = [0, 0];
  for (let row = 0; row < frames * patches; row++) {
    const at = assignment[count + row] * channels;
    for (let c = 0; c < channels; c++) {
      const value = tokens.data[row * channels + c];
      difference += (value - kept.data[at + c]) ** 2;
      all += value ** 2;
    }
  }
  return Math.sqrt(difference / all);
}

const clock = () => {
  if (values.clock === 'wall') return performance.now();
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

async function timed(work) {
  const started = clock();
  await work();
  return clock() - started;
}

const wanted = values.only?.split(',') ?? Object.keys(methods);
const pytorch = await startPytorch();
const bounds = await Bounds.create([tokens], threads, 1);
const { read, product } = bounds.works;
const baseline = pytorch ? `PyTorch ${pytorch.version}` : 'no PyTorch';
console.log(`[${shape}] float32, ${retentionRatio} kept, ${threads} threads, ${values.rounds} rounds, ${baseline}`);
console.log('                            ms, at best            times as fast                    over bound');
console.log(
  'method     kept  error   ours  PyTorch  bound  at best  in the median  at best  in the median  same indices',
);
for (const name of wanted) {
  const { reduce, reads, options, flops = () => 0 } = methods[name];
  const run = () => reduce(tokens, { retentionRatio, ...options });
  const first = await run();
  const theirs = reads > 0 ? await pytorch?.run(name) : undefined;
  const work = flops(first.report);
  const times = { ours: [], theirs: [], read: [], product: [] };
  for (let round = 0; round < Number(values.rounds); round++) {
    if (theirs) times.theirs.push((await pytorch.run(name)).milliseconds);
    const own = [];
    for (let call = 0; call < 2; call++) own.push(await timed(run));
    times.ours.push([Math.min(...own)]);
    times.read.push([await timed(read)]);
    times.product.push([await timed(product)]);
  }
  const ours = times.ours.flat();
  const best = Object.fromEntries(Object.entries(times).map(([who, list]) => [who, Math.min(...list.flat())]));
  const bound = bounds.compare({ ours: [[1]], read: [[best.read]], product: [[best.product]] }, { reads, flops: work });
  const { ratio } = bounds.compare(times, { reads, flops: work });
  const kept = new Set(first.indices);
  const same = theirs?.indices.filter((index) => kept.has(index)).length;
  const speedups = times.theirs.map((time, i) => time / ours[i]);
  const cells = [
    name.padEnd(9),
    String(first.indices.length).padStart(5),
    (await errorOf(first)).toFixed(3).padStart(6),
    best.ours.toFixed(1).padStart(6),
    (theirs ? best.theirs.toFixed(0) : '-').padStart(8),
    (reads > 0 ? (1 / bound.ratio).toFixed(1) : '-').padStart(6),
    (theirs ? (best.theirs / best.ours).toFixed(1) : '-').padStart(8),
    (theirs ? median(speedups).toFixed(1) : '-').padStart(14),
    (reads > 0 ? (best.ours * bound.ratio).toFixed(2) : '-').padStart(8),
    (reads > 0 ? ratio.toFixed(2) : '-').padStart(14),
    theirs ? ` ${same} of ${theirs.indices.length}` : ' -',
  ];
  console.log(cells.join(' '));
}
pytorch?.end();
process.exit();
