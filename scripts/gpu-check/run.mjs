// Checks everything that runs on a GPU, step by step, and measures it; `--emulated` shows on the CPU that this script works.
// Each step is a process of its own within a time limit: one that fails, crashes or hangs is noted, and the next begins.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compileCounter, cudaFolders, output, python, root, Skipped } from './common.mjs';
import { steps } from './steps.mjs';
import { asTable } from './table.mjs';

const names = Object.keys(steps);
// How many times longer a step may take where it only shows that it works.
const patience = 10;
const usage = `usage: node scripts/gpu-check/run.mjs [options]

Runs these steps: ${names.join(', ')}.
Prints a line for each, and after each writes what was found to <card>.json and a short table to <card>.md.

  --emulated      on the CPU: the kernels by emulation, graphs by ONNX Runtime's CPU provider. Says nothing about a GPU, gives no times
  --only NAMES    only these steps, by commas (machine always runs)
  --again         also steps that passed before, by the <card>.json in the first --out
  --minutes N     for all steps together. Defaults to 8, emulated to ${8 * patience}
  --out DIR       where results are written; may be repeated. Defaults to bench/results, emulated to build/gpu-check-emulated

Environment: LONGVLM_ONNXRUNTIME (a library with the CUDA provider beside it), LONGVLM_PYTHON (with torch and transformers; python3).
Exit code 0 if all steps passed or could not be done for want of a program, 1 if one failed or had no time, 2 without a GPU.
In a checkout, first: npm run build:cuda && node scripts/export-golden.mjs
scripts/gpu-check/pack.mjs makes a folder that runs this on a machine without Node, network or compiler.`;

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        emulated: { type: 'boolean', default: false },
        only: { type: 'string', default: names.join() },
        again: { type: 'boolean', default: false },
        minutes: { type: 'string' },
        out: { type: 'string', multiple: true },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      console.log(usage);
      process.exit(0);
    }
    const only = values.only.split(',');
    const unknown = only.find((name) => !names.includes(name));
    if (unknown !== undefined) throw new Error(`There is no step ${unknown}`);
    const minutes = Number(values.minutes ?? (values.emulated ? 8 * patience : 8));
    if (!(minutes > 0)) throw new Error('--minutes needs a number above 0');
    const out = values.out ?? [join(root, values.emulated ? 'build/gpu-check-emulated' : 'bench/results')];
    return {
      ...values,
      minutes,
      out: out.map((folder) => resolve(folder)),
      only: names.filter((name) => only.includes(name)),
    };
  } catch (error) {
    console.error(`${error.message}\n${usage}`);
    return process.exit(1);
  }
}

/** What a step is told, and the environment that it runs in. */
async function prepare({ emulated }) {
  const counter = join(root, 'build/gpu-check-tools/libcount_copies.so');
  // Without a compiler the step says so.
  if (!emulated && !existsSync(counter)) await compileCounter(counter).catch(() => {});
  const folder = join(root, 'build/gpu-check-work', emulated ? 'emulated' : 'gpu');
  mkdirSync(folder, { recursive: true });
  const context = { emulated, device: 'cuda', folder, countsCopies: existsSync(counter) };
  if (emulated) {
    const library = process.env.LONGVLM_CUDA_LIBRARY ?? join(root, 'build/cuda/liblongvlm_cuda_emulated.so');
    if (!process.env.LONGVLM_CUDA_LIBRARY)
      for (const [script, ...args] of [['export-golden'], ['build-cuda', '--emulated']])
        await output(process.execPath, [join(root, `scripts/${script}.mjs`), ...args]);
    return { context, env: { LONGVLM_CUDA_LIBRARY: library } };
  }
  const packages = await output(python, ['-c', 'import site; print("\\n".join(site.getsitepackages()))']).catch(
    () => '',
  );
  const env = { LD_LIBRARY_PATH: cudaFolders(packages.trim().split('\n').filter(Boolean)).join(delimiter) };
  return { context, env, counter };
}

const shownCharacters = 1500;

/** Ends the processes of the step that runs. */
let endStep = () => {};
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.once(signal, () => {
    endStep();
    process.kill(process.pid, signal);
  });

/** Runs a step in a process of its own; resolves to how it ended, and calls `found` with each part of what it found. */
async function runStep(name, seconds, { context, env, counter }, found) {
  const started = performance.now();
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), `--step=${name}`], {
    cwd: root,
    env: {
      ...process.env,
      ...env,
      ...(steps[name].countsCopies && context.countsCopies && { LD_PRELOAD: counter }),
      GPU_CHECK: JSON.stringify({ ...context, seconds }),
    },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    detached: true,
  });
  let [printed, late, ending] = ['', false];
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data) => (printed = (printed + data).slice(-shownCharacters)));
  child.on('message', (message) => {
    if (message.found) found(message.found);
    else ending = message;
  });
  // What the step has started, too.
  endStep = () => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // All have ended.
    }
  };
  const timer = setTimeout(() => {
    late = true;
    endStep();
  }, seconds * 1000);
  const disconnected = once(child, 'disconnect');
  const [code, signal] = await once(child, 'exit');
  clearTimeout(timer);
  endStep();
  // After its last message.
  await disconnected;
  const took = { seconds: Math.round((performance.now() - started) / 100) / 10 };
  if (code === 0 && ending) return { ...ending, ...took };
  const how = late ? `did not end within ${Math.round(seconds)} s` : `crashed: ${signal ?? `exit code ${code}`}`;
  return { status: 'failed', reason: `${how}\n${printed}`, ...took };
}

/** In the process of a step. */
async function step(name) {
  const context = JSON.parse(process.env.GPU_CHECK);
  const send = (message) => new Promise((resolve) => process.send(message, resolve));
  // Nobody waits for it any more.
  const end = () => process.kill(-process.pid, 'SIGKILL');
  process.once('disconnect', end);
  try {
    for await (const found of steps[name].run(context)) await send({ found });
    await send({ status: 'passed' });
  } catch (error) {
    if (error instanceof Skipped) await send({ status: 'skipped', reason: error.message });
    // Results are kept: without the folders of this machine.
    else
      await send({
        status: 'failed',
        reason: (error instanceof Error ? error.stack : String(error)).replaceAll(root, ''),
      });
  }
  process.off('disconnect', end);
  process.disconnect();
}

const fileName = (card) => card.toLowerCase().replace(/[^a-z0-9]+/g, '-');

function write(results, folders) {
  for (const folder of folders) {
    mkdirSync(folder, { recursive: true });
    for (const [ending, text] of [
      ['json', `${JSON.stringify(results, undefined, 2)}\n`],
      ['md', asTable(results)],
    ]) {
      const path = join(folder, `${fileName(results.card)}.${ending}`);
      writeFileSync(`${path}.new`, text);
      renameSync(`${path}.new`, path);
    }
  }
}

function earlier(card, { again, out }) {
  const path = join(out[0], `${fileName(card)}.json`);
  return again || !existsSync(path) ? {} : JSON.parse(readFileSync(path, 'utf8')).steps;
}

const line = (name, { status, reason, seconds }) =>
  `${status.padEnd(8)} ${name.padEnd(10)} ${seconds === undefined ? '' : `${seconds} s  `}${(reason ?? '').split('\n').slice(0, 12).join('\n         ')}`;

const emulatedCard = 'emulated on the CPU';

function whyNoGpu(card, { status }) {
  if (card !== undefined) return 'LONGVLM_CUDA_LIBRARY names the emulation, which needs --emulated';
  return status === 'passed' ? 'no GPU that the kernels can use, or no driver' : 'the machine cannot be described';
}

async function main() {
  const options = readOptions();
  const end = performance.now() + options.minutes * 60_000;
  const mostSeconds = (name) => steps[name].seconds * (options.emulated ? patience : 1);
  const prepared = await prepare(options);
  if (options.emulated)
    console.log(
      'EMULATED ON THE CPU: this shows that the script works. It says nothing about any GPU, and gives no times.',
    );
  const machine = {};
  const first = await runStep('machine', mostSeconds('machine'), prepared, (found) => Object.assign(machine, found));
  console.log(line('machine', first));
  console.log(
    Object.entries(machine)
      .map(([key, value]) => `         ${key}: ${value}`)
      .join('\n'),
  );
  const card = machine.gpu;
  if (card === undefined || (card === emulatedCard && !options.emulated)) {
    const reason = whyNoGpu(card, first);
    for (const name of options.only.filter((name) => name !== 'machine'))
      console.log(line(name, { status: 'no GPU', reason }));
    process.exitCode = 2;
    return;
  }
  const results = {
    card,
    emulated: options.emulated,
    date: new Date().toISOString(),
    machine,
    steps: { machine: first },
  };
  const before = earlier(card, options);
  for (const name of names.slice(1)) {
    const passed = before[name]?.status === 'passed' && !options.emulated;
    if (passed || !options.only.includes(name)) {
      if (before[name]) results.steps[name] = before[name];
      continue;
    }
    const seconds = Math.min(mostSeconds(name), (end - performance.now()) / 1000);
    const found = {};
    const save = (entry) => {
      results.steps[name] = { ...entry, found };
      write(results, options.out);
    };
    if (seconds < 2) save({ status: 'not run', reason: 'no time left' });
    else
      save(
        await runStep(name, seconds, prepared, (part) => {
          Object.assign(found, part);
          save({ status: 'failed', reason: 'cut off' });
        }),
      );
    console.log(line(name, results.steps[name]));
  }
  console.log(`\n${asTable(results)}`);
  if (options.emulated) console.log('EMULATED ON THE CPU: no result of a GPU, no times.');
  process.exitCode = Object.values(results.steps).some(({ status }) => status === 'failed' || status === 'not run')
    ? 1
    : 0;
}

const asked = /^--step=(.*)$/.exec(process.argv[2] ?? '');
if (asked) await step(asked[1]);
else await main();
