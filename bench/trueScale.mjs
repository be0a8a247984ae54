// A model of LLaVA-1.5's size with random weights through the whole pipeline: token counts, times, memory.
//
//   python bench/trueScale.py build/true-scale && node bench/trueScale.mjs build/true-scale [--image 336] [--frames 100] [--vision-precision int8]
//
// Linux only: memory is read from /proc. The video is generated once, in the same folder.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { LanguageModel, VisionEncoder } from '../dist/index.js';
import { findFfmpeg } from '../dist/video/ffmpeg.js';

const { values, positionals } = parseArgs({
  options: {
    image: { type: 'string', default: '224' },
    frames: { type: 'string', default: '100' },
    'vision-precision': { type: 'string', default: 'float32' },
  },
  allowPositionals: true,
});
const folder = positionals[0];
if (folder === undefined) throw new Error('Name the folder that bench/trueScale.py filled.');
const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const projector = join(folder, `mmproj-${values.image}-f16.gguf`);
const precision = values['vision-precision'];
const llm = join(folder, 'llama-1.1b-Q4_0.gguf');
const video = join(folder, 'minute.mp4');
if (!existsSync(video)) {
  const source = ['-f', 'lavfi', '-i', 'testsrc2=s=1280x720:r=25:d=60'];
  const { path } = await findFfmpeg();
  execFileSync(path, ['-nostdin', '-v', 'error', ...source, '-c:v', 'libx264', '-preset', 'ultrafast', video]);
}

/** Runs `longvlm ask`, and returns its report with its peak memory. */
async function ask() {
  const question = 'w1 w2 w3?';
  const models = ['--projector', projector, '--llm', llm, '--vision-precision', precision];
  const flags = [...models, '--frames', values.frames, '--max-tokens', '16', '--json'];
  const child = spawn(process.execPath, [main, 'ask', video, question, ...flags], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (text) => {
    output += text;
  });
  let bytes = 0;
  const timer = setInterval(() => {
    bytes = Math.max(bytes, peakOf(child.pid));
  }, 50);
  const code = await new Promise((resolve) => child.on('close', resolve));
  clearInterval(timer);
  if (code !== 0) process.exit(code ?? 1);
  const { video: seen, timings } = JSON.parse(output);
  return { tokens: seen.tokens, ...timings, bytes };
}

/** Milliseconds until a model is ready. */
async function load(name, start) {
  const started = performance.now();
  const part = await start();
  console.log(`${name} ready after ${Math.round(performance.now() - started)} ms`);
  await part.dispose();
}

function peakOf(pid) {
  try {
    return 1024 * Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

const cache = mkdtempSync(join(tmpdir(), 'longvlm-cache-'));
process.env.LONGVLM_CACHE = cache;
try {
  const weights = statSync(projector).size + statSync(llm).size;
  const gibibytes = (bytes) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  console.log(`weights: ${gibibytes(weights)}`);
  await load('vision tower', () => VisionEncoder.create({ path: projector, precision }));
  await load('language model', () => LanguageModel.load({ path: llm }));
  const runs = { first: await ask(), again: await ask() };
  for (const [name, { tokens, load, encode, firstToken, bytes }] of Object.entries(runs))
    console.log(
      `${name}: ${tokens} tokens; load ${load} ms, encode ${encode} ms, first token ${firstToken} ms; peak ${gibibytes(bytes)}, weights + ${gibibytes(bytes - weights)}`,
    );
  const toFirst = ({ load, encode, firstToken }) => load + encode + firstToken;
  console.log(
    `first token again: ${((100 * toFirst(runs.again)) / toFirst(runs.first)).toFixed(1)} % of the first run's time`,
  );
} finally {
  rmSync(cache, { recursive: true, force: true });
}
