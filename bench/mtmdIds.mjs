// The first tokens that llama.cpp's own tool answers about a picture, beside ours: same tower, same language model.
//
//   node bench/mtmdIds.mjs LLAMA_MTMD_CLI TOWERS [family ...]
//
// LLAMA_MTMD_CLI is llama.cpp's llama-mtmd-cli, of the release in node-llama-cpp. TOWERS holds a folder for each family, with
// mmproj.gguf as wide as the tiny language models of test/fixtures/llms. Families: smolvlm, internvl, qwen3_vl; all by default.
// The tool says which ids it evaluates: ours get the same texts. Exit code 1 where an answer differs before a tie.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openGguf } from '../dist/files/gguf.js';
import { evaluateEmbeddings, LanguageModel, projectFrames } from '../dist/index.js';

const count = 16;
const questions = ['What happens?', 'Who is there, and when?', 'The wire', 'Is she there?'];
// Logits that are closer are as much as the same: both multiply in float16, in other orders.
const tie = 0.02;
/** Width and height of the picture: of any size that the tower takes as it is. */
const families = {
  smolvlm: { llm: 'llama' },
  internvl: { llm: 'qwen3', prepare: withClassLast },
  qwen3_vl: { llm: 'qwen3vl', size: [128, 96] },
};

/** A picture of flat squares, [height, width, 3]. */
function picture(width, height) {
  const bytes = Buffer.alloc(width * height * 3);
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let channel = 0; channel < 3; channel++, at++)
        bytes[at] = ((x >> 3) * 37 + (y >> 3) * 91 + channel * 53 + (x >> 3) * (y >> 3) * 29) % 256;
  return bytes;
}

/** What the tool evaluates, in turn: `{ ids, positions }` of a text, or only positions of a picture's tokens. */
function runTool(tool, { llm, mmproj, image, question }) {
  const args = ['-m', llm, '--mmproj', mmproj, '--image', image, '-p', question, '-n', `${4 * count}`];
  args.push('--temp', '0', '-t', '1', '-ngl', '0', '--no-warmup', '-v');
  const environment = { ...process.env, LLAMA_BATCH_DEBUG: '2' };
  const log = execFileSync('sh', ['-c', '"$@" 2>&1', 'sh', tool, ...args], {
    env: environment,
    encoding: 'latin1',
    maxBuffer: 2 ** 28,
  });
  // A batch is shown as it was given, and again as it is split. The log's last lines get lost.
  const batches = log.split('init: input batch info').slice(1, -1);
  return batches.map((batch) => {
    const [, given] = batch.split(/ubatch_print: {3}token {5}= \[/);
    const tokens = [...given.matchAll(/: +\d+: (?:id = +(\d+) \([\s\S]*?\)|\[embd\]), pos = +(\d+), n_seq/g)];
    const positions = tokens.map(([, , position]) => Number(position));
    return tokens[0][1] === undefined ? { positions } : { ids: tokens.map(([, id]) => Number(id)), positions };
  });
}

/**
 * A copy for the tool of a file whose position embeddings begin with that of [CLS]. The tool puts [CLS] behind the patches of
 * InternVL's tower, and adds the embeddings in the file's order: each patch would get its neighbour's.
 */
async function withClassLast(mmproj, folder) {
  const bytes = readFileSync(mmproj);
  const { offset, byteLength, shape } = (await openGguf(mmproj)).tensors.get('v.position_embd.weight');
  const rows = bytes.subarray(offset, offset + byteLength);
  const first = shape.at(-1) * Float32Array.BYTES_PER_ELEMENT;
  rows.set(Buffer.concat([rows.subarray(first), rows.subarray(0, first)]));
  const copy = join(folder, 'mmproj.gguf');
  writeFileSync(copy, bytes);
  return copy;
}

/** Rows as the language model takes them, and their places. */
async function embeddingsOf(mmproj, bytes, [width, height]) {
  const { metadata } = await openGguf(mmproj);
  const [mean, std] = ['mean', 'std'].map((name) => metadata.get(`clip.vision.image_${name}`));
  const value = (y, x, channel) => (bytes[(y * width + x) * 3 + channel] / 255 - mean[channel]) / std[channel];
  if (metadata.get('clip.projector_type') !== 'qwen3vl_merger') {
    const data = Float32Array.from({ length: 3 * height * width }, (_, at) =>
      value(Math.floor(at / width) % height, at % width, Math.floor(at / width / height)),
    );
    const { tokens } = await projectFrames(
      { type: 'float32', data, dims: [1, 3, height, width] },
      { projector: mmproj },
    );
    return { rows: { ...tokens, dims: tokens.dims.slice(1) }, options: {} };
  }
  const size = metadata.get('clip.vision.patch_size');
  const merge = metadata.get('clip.vision.spatial_merge_size');
  const [rows, columns] = [height / size, width / size];
  const data = new Float32Array(rows * columns * 3 * 2 * size * size);
  let at = 0;
  // Patches that are merged lie together; a picture is shown twice, as two frames.
  const each = (counts, visit, chosen = []) => {
    if (chosen.length === counts.length) return visit(...chosen);
    for (let i = 0; i < counts[chosen.length]; i++) each(counts, visit, [...chosen, i]);
  };
  each([rows / merge, columns / merge, merge, merge, 3, 2, size, size], (by, bx, my, mx, channel, _frame, y, x) => {
    data[at++] = value((by * merge + my) * size + y, (bx * merge + mx) * size + x, channel);
  });
  const pixels = { type: 'float32', data, dims: [rows * columns, 3 * 2 * size * size] };
  const { tokens, deepstack } = await projectFrames(pixels, { projector: mmproj, grid: [1, rows, columns] });
  const parts = [tokens, ...deepstack];
  const [, n, d] = tokens.dims;
  const joined = new Float32Array(n * d * parts.length);
  for (let token = 0; token < n; token++)
    for (const [index, part] of parts.entries())
      joined.set(part.data.subarray(token * d, (token + 1) * d), (token * parts.length + index) * d);
  const across = columns / merge;
  const positions = Int32Array.from(
    Array.from({ length: n }, (_, token) => [0, Math.floor(token / across), token % across]).flat(),
  );
  return { rows: { type: 'float32', data: joined, dims: [n, d * parts.length] }, options: { positions } };
}

/** Our ids, and where the answer begins. A prompt's pictures are all the same. */
async function answer(llm, prompt, question, { rows, options }) {
  const model = await LanguageModel.load({ path: llm, device: 'cpu', threads: 1 });
  const context = await model.model.createContext({ contextSize: 1024, threads: 1 });
  try {
    const sequence = context.getSequence();
    for (const { ids } of prompt)
      if (ids) await sequence.evaluateWithoutGeneratingNewTokens(ids);
      else await evaluateEmbeddings(sequence, rows, options);
    const answered = [];
    const position = sequence.nextTokenIndex + question.ids.length;
    const steps = sequence.evaluateWithMetadata(question.ids, { probabilities: true }, { temperature: 0 });
    for await (const step of steps) if (answered.push(step) === count) break;
    return { ids: answered.map(({ token }) => token), position, answered };
  } finally {
    await context.dispose();
    await model.dispose();
  }
}

const [tool, towers, ...names] = process.argv.slice(2);
if (tool === undefined || towers === undefined) {
  console.error('Usage: node bench/mtmdIds.mjs LLAMA_MTMD_CLI TOWERS [family ...]');
  process.exit(2);
}
const folder = mkdtempSync(join(tmpdir(), 'longvlm-mtmd-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
for (const name of names.length > 0 ? names : Object.keys(families)) {
  const { llm: architecture, size, prepare = (file) => file } = families[name];
  const llm = fileURLToPath(new URL(`../test/fixtures/llms/${architecture}.gguf`, import.meta.url));
  const mmproj = join(towers, name, 'mmproj.gguf');
  const side = (await openGguf(mmproj)).metadata.get('clip.vision.image_size');
  const [width, height] = size ?? [side, side];
  const bytes = picture(width, height);
  const image = join(folder, `${name}.ppm`);
  writeFileSync(image, Buffer.concat([Buffer.from(`P6 ${width} ${height} 255\n`), bytes]));
  const embeddings = await embeddingsOf(mmproj, bytes, [width, height]);
  const prepared = await prepare(mmproj, folder);
  for (const question of questions) {
    const batches = runTool(tool, { llm, mmproj: prepared, image, question });
    const end = batches.findLastIndex(({ ids }) => ids === undefined) + 1;
    const theirs = batches.slice(end + 1, end + 1 + count);
    const ours = await answer(llm, batches.slice(0, end), batches[end], embeddings);
    const wanted = theirs.map(({ ids }) => ids[0]);
    const isSame = String(wanted) === String(ours.ids) && theirs[0].positions[0] === ours.position;
    console.log(`${name}, ${question} ${isSame ? 'the same' : 'DIFFERENT'}`);
    console.log(`  llama-mtmd-cli  from ${theirs[0].positions[0]}: ${wanted.join(' ')}`);
    console.log(`  longvlm         from ${ours.position}: ${ours.ids.join(' ')}`);
    if (isSame) continue;
    const at = wanted.findIndex((id, index) => id !== ours.ids[index]);
    const probabilities = ours.answered[at]?.probabilities;
    const lead = Math.log(probabilities?.get(ours.ids[at]) / probabilities?.get(wanted[at]));
    if (!(at >= 0 && lead < tie)) process.exitCode = 1;
    console.log(`  of token ${at + 1}, our logits of ${ours.ids[at]} and ${wanted[at]} are ${lead.toFixed(4)} apart`);
  }
}
