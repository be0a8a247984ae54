// Time to the first token and peak memory about a long video, beside llama.cpp's own tool on the same files.
//
//   node bench/mtmdSpeed.mjs LLAMA_MTMD_CLI MMPROJ LLM VIDEO [--frames 64] [--tokens 400] [--vision-precision int8] [--rounds 1]
//
// Files of real size: bench/trueScaleFamilies.py. The tool cannot read videos: it gets the frames as pictures of the tower's
// size, made beforehand and not counted. Ours reads the video itself. Both answer one token, on as many threads. Linux only:
// memory is read from /proc, with what is mapped of the weights.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openGguf } from '../dist/files/gguf.js';
import { probeVideo } from '../dist/index.js';
import { findFfmpeg } from '../dist/video/ffmpeg.js';

const { values, positionals } = parseArgs({
  options: {
    frames: { type: 'string', default: '64' },
    tokens: { type: 'string', default: '400' },
    'vision-precision': { type: 'string', default: 'float32' },
    rounds: { type: 'string', default: '1' },
  },
  allowPositionals: true,
});
const [tool, mmproj, llm, video] = positionals;
if (video === undefined) throw new Error('Name llama-mtmd-cli, an mmproj file, a language model and a video.');
const threads = String(availableParallelism());
const frames = Number(values.frames);
const question = 'What happens?';
const folder = mkdtempSync(join(tmpdir(), 'longvlm-bench-'));

/** Runs a program to its end: seconds, those of the processor, peak memory in bytes, and what it printed. */
async function measured(program, args) {
  const started = performance.now();
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LONGVLM_CACHE: join(folder, 'cache') },
  });
  let output = '';
  let errors = '';
  child.stdout.on('data', (text) => {
    output += text;
  });
  child.stderr.on('data', (text) => {
    errors += text;
  });
  let [bytes, processorSeconds] = [0, 0];
  const timer = setInterval(() => {
    bytes = Math.max(bytes, peakOf(child.pid));
    processorSeconds = Math.max(processorSeconds, processorSecondsOf(child.pid));
  }, 50);
  const code = await new Promise((resolve) => child.on('close', resolve));
  clearInterval(timer);
  if (code !== 0) throw new Error(`${program} ended with ${code}: ${errors.slice(-2000)}`);
  return { seconds: (performance.now() - started) / 1000, processorSeconds, bytes, output, errors };
}

/** What a process and its ended children spent on processors, which other load on the machine disturbs less. */
function processorSecondsOf(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    // utime, stime, cutime and cstime, in hundredths on every Linux that Node runs on.
    return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
  } catch {
    return 0;
  }
}

function peakOf(pid) {
  try {
    return 1024 * Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** The frames as pictures: the middle of each of as many stretches of the video. */
async function pictures() {
  const { path } = await findFfmpeg();
  const size = (await openGguf(mmproj)).metadata.get('clip.vision.image_size');
  const { durationSeconds } = await probeVideo(video);
  for (let index = 0; index < frames; index++) {
    const time = (durationSeconds * (index + 0.5)) / frames;
    const file = join(folder, `${String(index).padStart(4, '0')}.png`);
    const scale = ['-frames:v', '1', '-vf', `scale=${size}:${size}`];
    execFileSync(path, ['-nostdin', '-v', 'error', '-ss', String(time), '-i', video, ...scale, file]);
  }
  return readdirSync(folder)
    .sort()
    .map((name) => join(folder, name));
}

async function theirs(images, context) {
  const args = ['-m', llm, '--mmproj', mmproj, ...images.flatMap((image) => ['--image', image]), '-c', String(context)];
  const run = await measured(tool, [
    ...args,
    '-p',
    question,
    '-n',
    '1',
    '--temp',
    '0',
    '-t',
    threads,
    '-ngl',
    '0',
    '-v',
  ]);
  const log = run.output + run.errors;
  const counts = [...log.matchAll(/n_tokens_batch = (\d+)/g)].map(([, count]) => Number(count));
  return { ...run, tokens: counts.reduce((sum, count) => sum + count, 0) };
}

async function ours(frames = values.frames) {
  const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
  const models = ['--projector', mmproj, '--llm', llm, '--vision-precision', values['vision-precision']];
  const amount = ['--frames', frames, '--segment-frames', '8', '--tokens', values.tokens];
  const flags = [...models, ...amount, '--max-tokens', '1', '--temperature', '0', '--threads', threads];
  const run = await measured(process.execPath, [main, 'ask', video, question, ...flags, '--no-cache', '--json']);
  return { ...run, tokens: JSON.parse(run.output).video.tokens };
}

try {
  const images = await pictures();
  // The weights in eight bits are made once, and both files are in the system's cache then.
  await ours('8');
  // Memory for a context is paid whether it is filled or not: theirs has room for these pictures and no more.
  const [one, two] = [await theirs(images.slice(0, 1), 4096), await theirs(images.slice(0, 2), 4096)];
  const context = one.tokens + (frames - 1) * (two.tokens - one.tokens) + 64;
  for (let round = 0; round < Number(values.rounds); round++) {
    const [us, them] = [await ours(), await theirs(images, context)];
    for (const [name, { seconds, processorSeconds, bytes, tokens }] of Object.entries({
      longvlm: us,
      'llama-mtmd-cli': them,
    }))
      console.log(
        `${name}: ${tokens} tokens, ${seconds.toFixed(1)} s (${processorSeconds.toFixed(1)} s of processors), ${(bytes / 2 ** 20).toFixed(0)} MiB`,
      );
    console.log(
      `${(them.seconds / us.seconds).toFixed(1)} times as fast (${(them.processorSeconds / us.processorSeconds).toFixed(1)} by processors) with ${(us.tokens / them.tokens).toFixed(2)} of the tokens and ${(us.bytes / them.bytes).toFixed(2)} of the memory`,
    );
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
