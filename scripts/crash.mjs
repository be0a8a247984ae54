// Kills commands at random moments, on full disks, with read-only caches, few descriptors and little memory, and looks at what is
// left: no half file that is taken for whole, no error that is not ours, no process; and the next run succeeds and sweeps.
//   node scripts/crash.mjs --rounds 200 --seed 1 [--jobs 2] [--only encode,ask,eval,weights,download]
// As root on Linux, full disks and read-only folders are mounts; elsewhere limits and permissions take their place.
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import ts from 'typescript';
import { openSafetensors, writeSafetensors } from '../dist/files/safetensors.js';
import { VideoFeatures } from '../dist/index.js';
import { generator, litter, orphans } from './crashed.mjs';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    jobs: { type: 'string', default: '2' },
    only: { type: 'string', default: 'encode,ask,eval,weights,download' },
  },
});

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const pico = (name) => at(`test/fixtures/pico/${name}`);
const cli = at('dist/cli/main.js');
const vision = ['--vision', pico('clip'), '--device', 'cpu', '--threads', '1'];
const sampled = ['--frames', '20', '--segment-frames', '5', '--merge-tokens', '6'];
const models = [...vision, ...sampled, '--projector', pico('projector.safetensors'), '--llm', pico('llm.gguf')];
const diskBytes = 64 << 20;
const isRoot = process.platform === 'linux' && process.getuid() === 0;

/** Runs a statement of a module as the command line runs a command. */
const statement = (path, code) => [
  '--input-type=module',
  '-e',
  `import * as m from ${JSON.stringify(new URL(`../dist/${path}`, import.meta.url).href)};
   try { ${code} } catch (error) {
     console.error((error.name === 'LongVLMError' ? 'longvlm: ' : 'unexpected failure: ') + error.stack);
     process.exitCode = 1;
   }`,
];

const hub = await startHub();
const matrices = await makeMatrices();

/** What is run in a folder, and what must be true of it at any time; `written` is the folder that may be read-only. */
const commands = {
  encode: {
    written: 'out',
    run: (place) => [
      cli,
      'encode',
      join(place, 'a.mp4'),
      '-o',
      join(place, 'out/a.safetensors'),
      ...vision,
      ...sampled,
      '--no-cache',
    ],
    check: (place) => wholeFeatures(join(place, 'out')),
    left: (place) => [readdirSync(join(place, 'out')), ['a.safetensors']],
  },
  ask: {
    written: 'cache',
    run: (place) => [cli, 'ask', join(place, 'a.mp4'), 'What?', ...models, '--max-tokens', '4'],
    check: (place) => wholeFeatures(join(place, 'cache/videos')),
    left: (place) => [readdirSync(join(place, 'cache/videos')).map((name) => name.slice(64)), ['.safetensors']],
  },
  eval: {
    written: 'cache',
    run: (place) =>
      [
        cli,
        'eval',
        join(place, 'questions.jsonl'),
        '-o',
        join(place, 'out/p.json'),
        '--features',
        join(place, 'cache'),
      ].concat([...models, '--max-tokens', '4']),
    check: async (place) => {
      await wholeFeatures(join(place, 'cache'));
      const output = join(place, 'out/p.json');
      if (existsSync(output) && JSON.parse(readFileSync(output, 'utf8')).length !== 40)
        throw new Error('half of p.json');
    },
    left: (place) => [readdirSync(join(place, 'out')), ['p.json']],
  },
  weights: {
    written: 'cache',
    run: () =>
      statement(
        'cache/eightBitMatrices.js',
        `const { openSafetensors } = await import(${JSON.stringify(new URL('../dist/files/safetensors.js', import.meta.url).href)});
         const { path, tensors } = await openSafetensors(${JSON.stringify(matrices)});
         await m.toEightBits([...tensors.values()], path);`,
      ),
    check: async (place) => {
      for (const file of filesIn(join(place, 'cache/weights'), '.safetensors')) {
        const { tensors } = await openSafetensors(file);
        if (tensors.size !== 16 || statSync(file).size < 8 << 20) throw new Error(`half of ${file}`);
      }
    },
    left: (place) => [readdirSync(join(place, 'cache/weights')).map((name) => name.slice(64)), ['-int8.safetensors']],
  },
  download: {
    written: 'hub',
    run: () =>
      statement('models/hub/hub.js', `await m.fetchFile({ name: 'owner/model', revision: 'main' }, 'model.bin');`),
    check: (place) => {
      const blobs = join(place, 'hub/models--owner--model/blobs');
      for (const file of filesIn(blobs, ''))
        if (/[0-9a-f]{64}$/.test(file) && createHash('sha256').update(readFileSync(file)).digest('hex') !== hub.hash)
          throw new Error(`half of ${file}`);
    },
    left: (place) => [readdirSync(join(place, 'hub/models--owner--model/blobs')), [hub.hash]],
  },
};

const conditions = ['none', 'none', 'none', 'full disk', 'read-only', 'few descriptors', 'little memory'];

async function main() {
  const [rounds, seed, jobs] = [flags.rounds, flags.seed, flags.jobs].map(Number);
  const names = flags.only.split(',');
  const random = generator(seed);
  const plans = Array.from({ length: rounds }, (_, round) => ({
    round,
    name: names[round % names.length],
    condition: conditions[Math.floor(random() * conditions.length)],
    isKilled: random() < 0.6,
    when: random(),
    amount: random(),
  }));
  const counts = { rounds, killed: 0, endedBefore: 0, refused: 0, succeeded: 0, orphans: 0, sweeps: 0 };
  const faults = [];
  const durations = {};
  const worker = async () => {
    const base = mkdtempSync(join(tmpdir(), 'longvlm-crash-'));
    if (isRoot) execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${diskBytes}`, 'tmpfs', base]);
    try {
      for (let plan = plans.shift(); plan; plan = plans.shift())
        await tryRound(plan, join(base, String(plan.round)), base, durations, counts).catch((error) =>
          faults.push(`round ${plan.round}, ${plan.name}, ${plan.condition}: ${error.message}`),
        );
    } finally {
      if (isRoot) execFileSync('umount', ['-R', '-l', base]);
      rmSync(base, { recursive: true, force: true });
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  hub.close();
  rmSync(join(matrices, '..'), { recursive: true, force: true });
  console.log(JSON.stringify({ seed, ...counts, faults: faults.length }));
  for (const fault of faults) console.log(fault);
  process.exitCode = faults.length > 0 ? 1 : 0;
}

async function tryRound(plan, place, base, durations, counts) {
  const { name, condition, when, amount } = plan;
  const command = commands[name];
  for (const folder of ['', 'out', 'cache', 'hub']) mkdirSync(join(place, folder));
  for (const video of ['a.mp4', 'b.mp4']) copyFileSync(pico('video.mp4'), join(place, video));
  const lines = Array.from({ length: 40 }, (_, i) => ({
    video: i % 2 ? 'a.mp4' : 'b.mp4',
    question: `${i}?`,
    answer: 'x',
  }));
  writeFileSync(join(place, 'questions.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  // How long it takes is found out first, and Node's own start is of no interest.
  durations[name] ??= run(command, place, {}).then(({ ms }) => ms);
  const duration = await durations[name];
  for (const folder of ['out', 'cache', 'hub']) {
    rmSync(join(place, folder), { recursive: true, force: true });
    mkdirSync(join(place, folder));
  }

  const undo = await impose(condition, place, base, command, amount);
  const killAfter = condition === 'none' || plan.isKilled ? duration * (0.2 + 0.85 * when) : undefined;
  const ended = await run(command, place, { env: undo.env, prefix: undo.prefix, killAfter });
  await undo();
  try {
    if (ended.signal === 'SIGKILL' && killAfter !== undefined) counts.killed++;
    else {
      if (killAfter !== undefined) counts.endedBefore++;
      counts[ended.code === 0 ? 'succeeded' : 'refused']++;
      checkMessages(ended, condition, name);
    }
    const left = await orphans(place);
    counts.orphans += left.length;
    if (left.length > 0) throw new Error(`still running: ${left.join('; ')}`);
    await command.check(place);
    const before = litter(place);
    const next = await run(command, place, {});
    // A busy machine was slower at first.
    durations[name] = next.ms;
    if (next.code !== 0) throw new Error(`the next run fails: ${next.stderr.slice(-500)}`);
    await command.check(place);
    const [found, due] = command.left(place);
    if (found.join() !== due.join()) throw new Error(`${found.join(', ')} is there where ${due.join(', ')} is due`);
    const after = litter(place);
    if (after.length > 0) throw new Error(`left behind: ${after.join(', ')}`);
    if (before.length > 0) counts.sweeps++;
  } finally {
    await orphans(place);
    rmSync(place, { recursive: true, force: true });
  }
}

/** Brings a condition about. @returns what ends it, with the environment and the command that it needs */
async function impose(condition, place, base, { written }, amount) {
  const folder = join(place, written);
  if (condition === 'full disk' && isRoot) {
    const free = Math.round(2 ** (12 + 12 * amount));
    const filler = join(base, `filler-${randomBytes(4).toString('hex')}`);
    const { bavail, bsize } = await import('node:fs').then((fs) => fs.statfsSync(base));
    writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - free)));
    return Object.assign(async () => rmSync(filler), { env: {} });
  }
  // Blocks of 512 or 1024 bytes.
  if (condition === 'full disk')
    return Object.assign(async () => {}, { prefix: `ulimit -f ${Math.round(2 ** (12 * amount))}`, env: {} });
  if (condition === 'read-only' && isRoot) {
    execFileSync('mount', ['--bind', folder, folder]);
    execFileSync('mount', ['-o', 'remount,ro,bind', folder]);
    return Object.assign(async () => execFileSync('umount', ['-l', folder]), { env: {} });
  }
  if (condition === 'read-only') {
    chmodSync(folder, 0o555);
    return Object.assign(async () => chmodSync(folder, 0o755), { env: {} });
  }
  if (condition === 'few descriptors') {
    // Node itself needs many to start: they go later.
    const code = `import { openSync, closeSync } from 'node:fs'; import { isMainThread } from 'node:worker_threads';
      if (isMainThread) setTimeout(() => { const all = []; try { for (;;) all.push(openSync('/dev/null')); } catch {}
        for (const one of all.slice(0, ${Math.floor(amount * 16)})) closeSync(one); }, ${Math.floor(amount * 7919) % 500}).unref();`;
    const env = { NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(code)}` };
    return Object.assign(async () => {}, { env, prefix: 'ulimit -n 256' });
  }
  const env =
    condition === 'little memory' ? { NODE_OPTIONS: `--max-old-space-size=${24 + Math.round(40 * amount)}` } : {};
  return Object.assign(async () => {}, { env });
}

function run(command, place, { env = {}, prefix, killAfter }) {
  const args = command.run(place);
  const [file, all] = prefix
    ? ['sh', ['-c', `${prefix} && exec "$@"`, 'sh', process.execPath, ...args]]
    : [process.execPath, args];
  const ours = { LONGVLM_CACHE: join(place, 'cache'), HF_HUB_CACHE: join(place, 'hub'), HF_ENDPOINT: hub.url };
  const started = performance.now();
  const child = spawn(file, all, {
    env: { ...process.env, ...ours, LONGVLM_CRASH: place, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk) => (stderr += chunk));
  const killed = new AbortController();
  if (killAfter !== undefined)
    setTimeout(killAfter, undefined, { signal: killed.signal }).then(
      () => child.kill('SIGKILL'),
      () => {},
    );
  return new Promise((resolve) =>
    // Not `close`: a child that lives on may hold the pipe.
    child.on('exit', (code, signal) => {
      killed.abort();
      setImmediate(() => resolve({ code, signal, stderr, ms: performance.now() - started }));
    }),
  );
}

/** @throws Error for what an unprepared program says */
function checkMessages({ code, signal, stderr }, condition, name) {
  // V8 ends Node when its heap is full: nothing can be done then.
  if (condition === 'little memory' && (signal === 'SIGABRT' || code === 134)) return;
  // Then Node has not even begun, or opened what speaks for the command line.
  const hasBegun = commands[name].run('')[0] === cli && !/cli.main\.js|base.descriptors\.js/.test(stderr);
  if (condition === 'few descriptors' && stderr.includes('node:internal/modules/') && !hasBegun) return;
  const lines = stderr.split('\n').filter((line) => line !== '' && !/^(warning: |\d+ frames |removed )/.test(line));
  if (code === 0 && signal === null && lines.length === 0) return;
  const isOurs = code !== 0 && signal === null && lines[0]?.startsWith('longvlm: ');
  if (!isOurs || /unexpected failure|TypeError|node:internal/.test(lines[0]))
    throw new Error(`ends with ${code ?? signal} and says ${JSON.stringify(stderr.slice(0, 1000))}`);
}

async function wholeFeatures(folder) {
  for (const file of filesIn(folder, '.safetensors')) await VideoFeatures.load(file);
}

function filesIn(folder, ending) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name));
}

/** The tests' hub on loopback, with a large file. */
async function startHub() {
  const source = readFileSync(at('test/fixtures/hub.ts'), 'utf8');
  const { outputText } = ts.transpileModule(source, { compilerOptions: { module: 'esnext', target: 'es2022' } });
  const { startHub: start } = await import(`data:text/javascript,${encodeURIComponent(outputText)}`);
  const content = randomBytes(16 << 20);
  const started = await start({ 'owner/model': { 'model.bin': content } });
  return { ...started, hash: createHash('sha256').update(content).digest('hex') };
}

/** Weights that take a moment to write out. */
async function makeMatrices() {
  const file = join(mkdtempSync(join(tmpdir(), 'longvlm-crash-')), 'matrices.safetensors');
  const data = () => Float32Array.from({ length: 1 << 20 }, (_, i) => Math.sin(i));
  const tensors = Array.from({ length: 8 }, (_, i) => [`m${i}`, { type: 'F32', shape: [1024, 1024], data: data() }]);
  await writeSafetensors(file, Object.fromEntries(tensors));
  return file;
}

await main();
