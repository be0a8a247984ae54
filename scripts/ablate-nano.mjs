// Ablations of nano: the score without single steps of the method, as a Markdown table.
//   node scripts/ablate-nano.mjs                          both, local only, global only, on the tests' first 20 videos: a minute
//   node scripts/ablate-nano.mjs --all DATASET.jsonl …    everything; each cell is the mean over the data sets ± half their range
//   node scripts/ablate-nano.mjs --reductions --frames 20 --tokens 84 DATASET.jsonl …   each reduction to the same number of tokens
//   … --only fastvid,flashvid                            these rows alone
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const file = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const { values, positionals } = parseArgs({
  options: {
    all: { type: 'boolean' },
    reductions: { type: 'boolean' },
    frames: { type: 'string', default: '100' },
    tokens: { type: 'string', default: '104' },
    only: { type: 'string' },
  },
  allowPositionals: true,
});
const datasets = positionals.length > 0 ? positionals : [file('test/fixtures/world/questions.jsonl')];
const preset = (await import(file('models/nano/preset.json'), { with: { type: 'json' } })).default;
const { segmentFrames: K, tokensPerSegment: M, globalLayers: E } = preset;

const kept = [
  [`both (K = ${K}, M = ${M}, E = ${E})`],
  ['local only', '--tokens', 'local'],
  ['global only', '--tokens', 'global'],
];
const others = [
  ['average pooling', '--reduction', 'pool'],
  ['uniform subsampling', '--reduction', 'subsample'],
  ...[2, 3, 6, 8].map((m) => [`M = ${m}`, '--merge-tokens', m]),
  ...[1, 2, 3].map((e) => [`E = ${e}`, '--global-layers', e]),
  ...[2, 4, 10, 20].map((k) => [`K = ${k}`, '--segment-frames', k]),
];
// As many segments as nano was trained with, where a reducer takes segments.
const inSegments = ['--segment-frames', Number(values.frames) / (preset.frames / K)];
const reductions = [
  ...['merge', 'pick', 'pool'].map((name) => [name, ...inSegments]),
  ...['uniform', 'random', 'vcast', 'evs', 'vidcom2', 'aim', 'fastvid', 'flashvid'].map((name) => [name]),
].map(([name, ...flags]) => [
  name,
  '--reduction',
  name,
  '--frames',
  values.frames,
  '--tokens',
  values.tokens,
  ...flags,
]);
const table = values.reductions ? reductions : values.all ? [...kept, ...others] : kept;
const only = values.only?.split(',') ?? table.map(([name]) => name);
const cases = only.map((wanted) => {
  const found = table.find(([name]) => name === wanted);
  if (!found) throw new Error(`There is no row '${wanted}': there are ${table.map(([name]) => name).join(', ')}.`);
  return found;
});
const limit = values.all || values.reductions ? [] : ['--limit', 20];

function evaluate(dataset, flags) {
  const args = ['eval', dataset, '--json', '--threads', 1, '--features', file('build/ablation'), ...limit, ...flags];
  const child = spawn(process.execPath, [file('dist/cli/main.js'), ...args.map(String)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (text) => {
    output += text;
  });
  return new Promise((resolve) =>
    child.on('close', (code) => {
      if (code !== 0) process.exit(code ?? 1);
      resolve(JSON.parse(output));
    }),
  );
}

const percent = (scores) => {
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  const spread = (Math.max(...scores) - Math.min(...scores)) / 2;
  return (100 * mean).toFixed(1) + (scores.length > 1 ? ` ± ${(100 * spread).toFixed(1)}` : '');
};

let kinds;
function tell(name, results) {
  if (kinds === undefined) {
    kinds = results[0].kinds.map(({ kind }) => kind).sort();
    console.log(`| | all | ${kinds.join(' | ')} |\n|${' --- |'.repeat(kinds.length + 2)}`);
  }
  const cells = kinds.map((kind) =>
    percent(results.flatMap((result) => result.kinds.filter((found) => found.kind === kind).map(({ score }) => score))),
  );
  console.log(`| ${name} | ${percent(results.map(({ overall }) => overall.score))} | ${cells.join(' | ')} |`);
}

// Runs as many evaluations at once as there are cores. Rows are printed in order.
const results = new Map();
let next = 0;
async function work(jobs) {
  for (let job = jobs.shift(); job; job = jobs.shift()) {
    const { name, dataset, flags } = job;
    const found = await evaluate(dataset, flags);
    results.set(name, [...(results.get(name) ?? []), found]);
    while (next < cases.length && results.get(cases[next][0])?.length === datasets.length) {
      const [name] = cases[next++];
      tell(name, results.get(name));
    }
  }
}
const run = (jobs) => Promise.all(Array.from({ length: availableParallelism() }, () => work(jobs)));
const jobs = cases.flatMap(([name, ...flags]) => datasets.map((dataset) => ({ name, dataset, flags })));
// The next two cases reuse the first case's features.
await run(jobs.splice(0, datasets.length));
await run(jobs);
