// Which bytes are copied on a video's way from ffmpeg to the language model, on the CPU, counted and not read.
//
//   node bench/copies/count.mjs [--video FILE] [--vision PATH --projector PATH --llm PATH] [--frames 20] [--from 1024]
//
// Linux with g++. A library that is loaded before all others (count.cc) writes down every memcpy and memmove of at least --from
// bytes with the library that asked for it; node's own are those of JavaScript (TypedArray.set, slice, Buffer.concat). What is
// computed on the way (ONNX Runtime's transposing and packing of matrices, llama.cpp's own tensors) stands in its row.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

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
    steps: { type: 'boolean', default: false },
  },
});
if (values.steps) await steps();
else count();

/** The process that is counted: prints what there was to copy, and when each step began and ended. */
async function steps() {
  for (const name of ['LD_PRELOAD', 'LONGVLM_COPIES', 'LONGVLM_COPIES_FROM']) delete process.env[name];
  const { LongVLM } = await import('../../dist/index.js');
  const { vision, projector, llm, video, frames } = values;
  const vlm = await LongVLM.load({ vision, projector, llm, device: 'cpu', cache: false });
  const options = { sampling: { frames: Number(frames), segmentFrames: 10 } };
  const times = {};
  const step = async (name, work) => {
    const begun = process.hrtime.bigint();
    const result = await work();
    times[name] = [String(begun), String(process.hrtime.bigint())];
    return result;
  };
  // What is made once, sessions and pools, is not a step's.
  await vlm.ask(video, 'w1?', { ...options, maxTokens: 1 });

  const features = await step('ffmpeg, tower, merging', () => vlm.encode(video, options));
  const embeddings = await step('projector', () => vlm.project(features));
  const chat = await step('project, language model reads the video', () => vlm.chat(features));
  await chat.dispose();
  const { config } = vlm.encoder;
  const { local, global, sampling } = features;
  const seen = sampling.frames;
  const sizes = {
    frames: seen * config.imageSize ** 2 * 3,
    'patches, float32': seen * config.patches * config.channels * 4,
    'tokens, local and global': (local.data.length + global.data.length) * 4,
    embeddings: embeddings.data.byteLength,
  };
  await vlm.dispose();
  console.log(JSON.stringify({ times, sizes }));
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
    const { times, sizes } = JSON.parse(run.stdout);
    const copies = readFileSync(list, 'utf8').trim().split('\n').map(read);
    for (const [name, bytes] of Object.entries(sizes)) console.log(`${name}: ${bytes} bytes`);
    console.log(`\ncopies of ${values.from} bytes and more:`);
    for (const [name, [begun, ended]] of Object.entries(times)) {
      console.log(`\n${name}`);
      print(copies.filter(({ time }) => time >= BigInt(begun) && time <= BigInt(ended)));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function read(line) {
  const [, time, bytes, path] = /^(\d+) (\d+) (.*)$/.exec(line) ?? [];
  if (path === undefined) throw new Error(`More was copied than was written down: ${line}`);
  return { time: BigInt(time), bytes: Number(bytes), library: basename(path) };
}

function print(copies) {
  const rows = new Map();
  for (const { library, bytes } of copies) {
    const row = rows.get(library) ?? { copies: 0, bytes: 0, sizes: new Map() };
    row.copies++;
    row.bytes += bytes;
    row.sizes.set(bytes, (row.sizes.get(bytes) ?? 0) + 1);
    rows.set(library, row);
  }
  if (rows.size === 0) console.log('  none');
  for (const [library, { copies, bytes, sizes }] of [...rows].sort(([, a], [, b]) => b.bytes - a.bytes)) {
    const most = [...sizes].sort(([a, n], [b, m]) => b * m - a * n).slice(0, 4);
    const parts = most.map(([size, times]) => `${times} × ${size}`).join(', ');
    console.log(`  ${library}: ${bytes} bytes in ${copies} (${parts}${sizes.size > 4 ? ', …' : ''})`);
  }
}
