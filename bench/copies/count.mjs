// Which bytes are copied on a video's way from ffmpeg to the language model, on the CPU, counted and not read; and which memory is new.
//
//   node bench/copies/count.mjs [--video FILE] [--vision PATH --projector PATH --llm PATH] [--frames 20] [--from 1024]
//                               [--reduction merge] [--markdown | --json]
//
// Linux with g++. A library that is loaded before all others (count.cc) writes down every memcpy and memmove of at least --from
// bytes, and every malloc(), with who asked for it. What is computed on the way (ONNX Runtime's transposing and packing of matrices,
// llama.cpp's own tensors) stands in its row. Not seen are loops, in C++ and in JavaScript: what they copy to, if it is new memory, is.
// Before the steps, as a control, the process makes copies that must be seen, or this fails.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { asMarkdown, asText } from './tables.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const pico = (name) => here(`../../test/fixtures/pico/${name}`);
const { values } = parseArgs({
  options: {
    video: { type: 'string', default: pico('video.mp4') },
    vision: { type: 'string', default: pico('clip') },
    projector: { type: 'string', default: pico('projector.safetensors') },
    llm: { type: 'string', default: pico('llm.gguf') },
    frames: { type: 'string', default: '20' },
    from: { type: 'string', default: '1024' },
    reduction: { type: 'string', default: 'merge' },
    markdown: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    steps: { type: 'boolean', default: false },
  },
});
const segmentFrames = 10;
// Larger than anything else of its size that happens before the first step.
const controlBytes = 3_000_017;
const controlFloats = 900_001;

if (values.steps) await steps();
else count();

/** The process that is counted: prints what there was to copy, and when each step began and ended. */
async function steps() {
  for (const name of ['LD_PRELOAD', 'LONGVLM_COPIES', 'LONGVLM_COPIES_FROM']) delete process.env[name];
  const { LongVLM } = await import('../../dist/index.js');
  const { uniform } = await import('../../dist/kernels/index.js');
  const { vision, projector, llm, video, frames, reduction } = values;
  const vlm = await LongVLM.load({ vision, projector, llm, device: 'cpu', cache: false });
  const options = { sampling: { frames: Number(frames), segmentFrames, reduction } };
  const times = {};
  const step = async (name, work) => {
    const begun = process.hrtime.bigint();
    const result = await work();
    times[name] = [String(begun), String(process.hrtime.bigint())];
    return result;
  };
  // What is made once, sessions and pools, is not a step's.
  await vlm.ask(video, 'w1?', { ...options, maxTokens: 1 });

  const bytes = new Uint8Array(controlBytes);
  await step('control: JavaScript', () => bytes.slice());
  const loop = () => {
    const copy = new Uint8Array(controlBytes);
    for (let i = 0; i < controlBytes; i++) copy[i] = bytes[i];
  };
  await step('control: JavaScript, in a loop', loop);
  // Less than what the addon copies past the caches, in a loop.
  const rows = { type: 'float32', data: new Float32Array(2 * controlFloats), dims: [1, 2, controlFloats] };
  await step('control: addon', () => uniform(rows, { retentionRatio: 1 }));

  const features = await step('ffmpeg, tower, reducer', () => vlm.encode(video, options));
  const embeddings = await step('projector', () => vlm.project(features));
  const chat = await step('projector, language model', () => vlm.chat(features));
  await chat.dispose();
  const { config } = vlm.encoder;
  const { local, global, sampling } = features;
  const seen = sampling.frames;
  const sizes = {
    frames: seen * config.imageSize ** 2 * 3,
    patches: seen * config.patches * config.channels * 4,
    tokens: (local.data.length + global.data.length) * 4,
    embeddings: embeddings.data.byteLength,
  };
  const parts = {
    frame: config.imageSize ** 2 * 3,
    segments: seen / sampling.segmentFrames,
    segmentTokens: sampling.tokensPerSegment * local.dims[2] * 4,
    frameClassTokens: sampling.globalLayers * global.dims[1] * 4,
  };
  await vlm.dispose();
  console.log(JSON.stringify({ times, sizes, parts }));
}

function count() {
  const folder = mkdtempSync(join(tmpdir(), 'longvlm-copies-'));
  try {
    const [library, list] = [join(folder, 'count.so'), join(folder, 'copies')];
    execFileSync('g++', ['-std=c++17', '-O2', '-fno-builtin', '-shared', '-fPIC', here('count.cc'), '-o', library]);
    const run = spawnSync(process.execPath, [here('count.mjs'), ...process.argv.slice(2), '--steps'], {
      env: { ...process.env, LD_PRELOAD: library, LONGVLM_COPIES: list, LONGVLM_COPIES_FROM: values.from },
      stdio: ['ignore', 'pipe', 'inherit'],
      encoding: 'utf8',
    });
    if (run.status !== 0) throw new Error(`The counted process ended with ${run.status ?? run.signal}.`);
    const { times, ...found } = JSON.parse(run.stdout);
    const calls = readFileSync(list, 'utf8').trim().split('\n').map(read);
    const all = Object.entries(times).map(([name, [begun, ended]]) => {
      const during = calls.filter(({ time }) => time >= BigInt(begun) && time <= BigInt(ended));
      return { name, copies: rowsOf(during, 'copy'), memory: rowsOf(during, 'memory') };
    });
    checkControls(all);
    const steps = all.filter(({ name }) => !name.startsWith('control'));
    if (values.json) console.log(JSON.stringify({ ...found, steps }));
    else console.log((values.markdown ? asMarkdown : asText)({ ...found, steps, from: values.from }));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A call that was written down. */
function read(line) {
  const [, kind, time, bytes, path, name] = /^(copy|memory) (\d+) (\d+) (.*) (\S+)$/.exec(line) ?? [];
  if (path === undefined) throw new Error(`More was copied than was written down: ${line}`);
  return { kind, time: BigInt(time), bytes: Number(bytes), who: whoOf(basename(path), name) };
}

/** Who asked for it, by the library and, in Node's program, the function. */
function whoOf(library, name) {
  if (library === 'longvlm.node') return 'addon';
  if (library.startsWith('libonnxruntime')) return 'ONNX Runtime';
  if (/^(libllama|libggml|llama-addon)/.test(library)) return 'llama.cpp';
  if (library !== basename(process.execPath)) return library;
  // Buffers that are filled at once: by Buffer.concat, with which Node's streams join what has gathered.
  if (name.includes('AllocateUninitialized')) return 'JavaScript, Buffer';
  // Functions of typed arrays and of Buffer are machine code without a name; memory for their contents comes from one place.
  if (name === '-' || /TypedArray|ArrayBuffer|ValueSerializer|ValueDeserializer/.test(name)) return 'JavaScript';
  return /^_ZNK?2v8/.test(name) ? 'V8, for itself' : 'Node';
}

/** For each who asked, the largest first: how often, how many bytes, and of which sizes. */
function rowsOf(calls, wanted) {
  const rows = new Map();
  for (const { kind, who, bytes } of calls) {
    if (kind !== wanted) continue;
    const row = rows.get(who) ?? { who, count: 0, bytes: 0, sizes: new Map() };
    row.count++;
    row.bytes += bytes;
    row.sizes.set(bytes, (row.sizes.get(bytes) ?? 0) + 1);
    rows.set(who, row);
  }
  const all = [...rows.values()].sort((a, b) => b.bytes - a.bytes);
  return all.map((row) => ({ ...row, sizes: [...row.sizes].sort(([a, n], [b, m]) => b * m - a * n) }));
}

/** @throws Error unless what was copied on purpose was seen */
function checkControls(steps) {
  const bytes = (name, kind, who) =>
    steps.find((step) => step.name === `control: ${name}`)[kind].find((row) => row.who === who)?.bytes ?? 0;
  const seen = {
    'a copy by JavaScript': bytes('JavaScript', 'copies', 'JavaScript') >= controlBytes,
    'memory for one in a loop': bytes('JavaScript, in a loop', 'memory', 'JavaScript') >= controlBytes,
    'a copy by the addon': bytes('addon', 'copies', 'addon') >= 8 * controlFloats,
  };
  for (const [what, isSeen] of Object.entries(seen)) if (!isSeen) throw new Error(`Not seen: ${what}.`);
}
