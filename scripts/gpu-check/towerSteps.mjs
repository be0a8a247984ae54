// The vision tower on a device: its outputs, times, precisions and copies, beside the host and beside PyTorch.
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gpuMemoryBytes, isOutOfMemory } from '../../dist/compute/gpuMemory.js';
import { OrtSession } from '../../dist/compute/ortSession.js';
import { openSafetensors, readTensor } from '../../dist/files/safetensors.js';
import { LongVLM } from '../../dist/index.js';
import { DeviceBuffer, mergeTokens, poolClsTokens } from '../../dist/kernels/index.js';
import { openProjector } from '../../dist/projector/registry.js';
import {
  countCopies,
  difference,
  jsonLines,
  median,
  need,
  needFfmpeg,
  needProvider,
  program,
  python,
  root,
  Skipped,
} from './common.mjs';
import {
  dispose,
  encode,
  makeFrames,
  makeModels,
  onDevice,
  onHost,
  openSession,
  projectorIn,
  scaleOf,
  segmentFrames,
  shapesOf,
} from './tower.mjs';

// The largest first: memory that was taken in small pieces cannot be joined to large ones.
const batches = [50, 20, 10, 2];
const batch = 20;
const towerIn = ({ folder }) => join(folder, 'tower');

/** What a caller of the steps below needs: the tower, open, and its frames. */
async function prepare(context, precision, frames = scaleOf(context).frames) {
  needProvider(context);
  const scale = scaleOf(context);
  await makeModels(towerIn(context), scale);
  return {
    scale,
    tower: await openSession(towerIn(context), context, precision),
    pixels: makeFrames(frames, scale.size),
  };
}

/** Makes the tower that the other steps use. */
export async function* weights(context) {
  await makeModels(towerIn(context), scaleOf(context));
  yield { tower: scaleOf(context) };
}

/** Patches of some frames as tokens of segments. */
const asSegments = (patches, frames) => {
  const [all, tokens, channels] = patches.dims;
  const dims = [all / frames, frames * tokens, channels];
  return patches instanceof DeviceBuffer ? patches.reshape(dims) : { ...patches, dims };
};

/** Outputs bound on the device against those on the host; merging and pooling of both; pico against the reference. */
export async function* bound(context) {
  const { scale, tower, pixels } = await prepare(context, 'float32', 2 * segmentFrames);
  const shapes = shapesOf(tower.config, pixels.dims[0]);
  const host = await encode(tower, pixels, onHost(shapes), batch);
  const up = await DeviceBuffer.upload(pixels);
  const device = await encode(tower, up, onDevice(shapes), batch);
  for (const name of Object.keys(shapes)) {
    const found = (await device[name].download()).data;
    const { most } = difference(found, host[name].data);
    yield {
      [`${name}: largest difference, host and device`]: most,
      [`${name}: same bits`]: sameBits(found, host[name].data),
    };
    need(most <= 1e-6, `${name} on the device differ from those on the host by ${most} of the largest`);
  }
  yield* sameMerging(scale, device);
  await tower.release();
  dispose(up, device);
  yield* picoAgainstReference(context);
}

const sameBits = (a, b) => Buffer.from(a.buffer).equals(Buffer.from(b.buffer));

async function* sameMerging({ heads, keep }, device) {
  const patches = await device.patches.download();
  const wanted = await mergeTokens(asSegments(patches, segmentFrames), { heads, keep, device: 'cpu' });
  const merged = await mergeTokens(asSegments(device.patches, segmentFrames), { heads, keep });
  const [tokens, sizes, assignment] = await Promise.all(
    [merged.tokens, merged.sizes, merged.assignment].map(async (buffer) => (await buffer.download()).data),
  );
  need(sameBits(assignment, wanted.assignment.data ?? wanted.assignment), 'other tokens are merged than on the CPU');
  need(sameBits(sizes, wanted.sizes.data), 'sizes of merged tokens are others than on the CPU');
  const { most } = difference(tokens, wanted.tokens.data);
  yield { 'merged tokens: largest difference, CPU and device': most };
  need(most <= 1e-6, `merged tokens differ from those of the CPU by ${most} of the largest`);
  const pooled = await poolClsTokens(device.summaries);
  const onCpu = await poolClsTokens(await device.summaries.download());
  need(sameBits((await pooled.download()).data, onCpu.data), 'pooled class tokens are others than on the CPU');
  dispose(merged, pooled);
}

/** The reference's patches and embeddings of a tiny model, which transformers computed. */
async function* picoAgainstReference(context) {
  const folder = join(root, 'test/fixtures/pico');
  const { tensors } = await openSafetensors(join(folder, 'expected.safetensors'));
  const expected = async (name) => ({
    type: 'float32',
    data: await readTensor(tensors.get(name)),
    dims: tensors.get(name).shape,
  });
  const source = await openProjector(join(folder, 'projector.safetensors'));
  const session = await OrtSession.load(await source.graph(), { device: context.device, threads: undefined });
  const [global, local, video] = await Promise.all(['global', 'local', 'video'].map(expected));
  const rows = global.dims[0] + local.dims[0] * local.dims[1];
  const data = Float32Array.of(...global.data, ...local.data);
  const features = await DeviceBuffer.upload({ type: 'float32', data, dims: [rows, global.dims[1]] });
  const { embeddings } = onDevice({ embeddings: video.dims });
  await session.run({ rows, batch: rows, inputs: { features }, outputs: { embeddings } });
  const { most } = difference((await embeddings.download()).data, video.data);
  yield { "pico's embeddings: largest difference from the reference": most };
  need(most <= 1e-5, `pico's embeddings differ from the reference by ${most} of the largest; about 1e-3 would be TF32`);
  await session.release();
  dispose(features, embeddings);
}

/** Whether a run has memory enough: the product takes fewer frames at once where it has not. */
async function fits(run) {
  try {
    await run();
    return true;
  } catch (error) {
    if (!isOutOfMemory(error)) throw error;
    return false;
  }
}

/** Times of the tower in both precisions, for each batch, and its outputs beside PyTorch's. */
export async function* towers(context) {
  const rounds = context.emulated ? 1 : 5;
  const outputs = {};
  for (const precision of ['float32', 'float16']) {
    const { tower, pixels } = await prepare(context, precision);
    const up = await DeviceBuffer.upload(pixels);
    const out = onDevice(shapesOf(tower.config, pixels.dims[0]));
    for (const size of batches) {
      const times = [];
      if (!(await fits(() => encode(tower, up, out, size)))) {
        yield {
          [`${precision}, ${size} frames a run`]: `more than LONGVLM_GPU_MEMORY, ${gpuMemoryBytes() / 2 ** 20} MiB`,
        };
        continue;
      }
      for (let round = 0; round < rounds; round++) {
        const started = performance.now();
        await encode(tower, up, out, size);
        times.push(performance.now() - started);
      }
      if (!context.emulated)
        yield { [`${precision}, ${size} frames a run`]: { milliseconds: median(times), frames: pixels.dims[0] } };
    }
    outputs[precision] = (await out.patches.download()).data;
    need(outputs[precision].every(Number.isFinite), `${precision}: patches that are not finite`);
    await tower.release();
    dispose(up, out);
  }
  yield* besidePytorch(context, outputs);
}

async function* besidePytorch(context, outputs) {
  const { frames, size } = scaleOf(context);
  const files = Object.fromEntries(
    ['frames', 'float32', 'float16'].map((name) => [name, join(context.folder, `${name}.raw`)]),
  );
  writeFileSync(files.frames, makeFrames(frames, size).data);
  const script = join(root, 'scripts/gpu-check/tower_pytorch.py');
  const args = [towerIn(context), files.frames, '--out', context.folder, '--device', context.emulated ? 'cpu' : 'cuda'];
  const { code, stdout, problem } = await program(python, [script, ...args, '--batches', ...batches.map(String)]);
  if (code === 3) return yield { PyTorch: `${python} has no PyTorch or no transformers` };
  need(code === 0, problem);
  if (!context.emulated) for (const { what, ...time } of jsonLines(stdout)) yield { [`PyTorch ${what}`]: time };
  for (const [precision, found] of Object.entries(outputs)) {
    // Both against PyTorch's float32.
    const bytes = readFileSync(files.float32);
    const { most, rootMeanSquare } = difference(
      found,
      new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4),
    );
    yield { [`${precision}: patches against PyTorch's float32`]: { most, rootMeanSquare } };
    const allowed = precision === 'float32' ? 1e-3 : 5e-2;
    need(
      rootMeanSquare <= allowed,
      `${precision}: patches differ from PyTorch's by ${rootMeanSquare} in the root mean square`,
    );
  }
  for (const file of Object.values(files)) rmSync(file, { force: true });
}

/** What half precision changes: the patches, and which of them are merged. */
export async function* float16(context) {
  const { heads, keep } = scaleOf(context);
  const found = {};
  for (const precision of ['float32', 'float16']) {
    const { tower, pixels } = await prepare(context, precision);
    const up = await DeviceBuffer.upload(pixels);
    const out = await encode(tower, up, onDevice(shapesOf(tower.config, pixels.dims[0])), batch);
    const merged = await mergeTokens(asSegments(out.patches, segmentFrames), { heads, keep });
    const download = async (buffer) => (await buffer.download()).data;
    found[precision] = {
      patches: await download(out.patches),
      summaries: await download(out.summaries),
      assignment: await download(merged.assignment),
      tokens: merged.assignment.dims[1],
    };
    await tower.release();
    dispose(up, out, merged);
  }
  const { float32, float16 } = found;
  yield {
    patches: difference(float16.patches, float32.patches),
    summaries: difference(float16.summaries, float32.summaries),
  };
  yield { assignments: agreement(float16.assignment, float32.assignment, float32.tokens, keep) };
}

/**
 * How alike two assignments of segments are: the part of tokens in the same row, and, as rows may only be ordered otherwise,
 * the part of pairs that share a row in both among those that share one in either.
 */
export function agreement(a, b, tokens, keep) {
  let [same, both, inA, inB] = [0, 0, 0, 0];
  const pairs = (counts) => counts.reduce((sum, count) => sum + (count * (count - 1)) / 2, 0);
  for (let from = 0; from < a.length; from += tokens) {
    const [together, ofA, ofB] = [keep * keep, keep, keep].map((length) => new Array(length).fill(0));
    for (let i = from; i < from + tokens; i++) {
      if (a[i] === b[i]) same++;
      together[a[i] * keep + b[i]]++;
      ofA[a[i]]++;
      ofB[b[i]]++;
    }
    both += pairs(together);
    inA += pairs(ofA);
    inB += pairs(ofB);
  }
  return { sameRow: same / a.length, samePairs: both / (inA + inB - both) };
}

const mostSmall = 100;

/** Bytes that are copied while a video goes from frames to embeddings. */
export async function* copies(context) {
  if (!context.emulated && !context.countsCopies) throw new Skipped('the library that counts copies is not there');
  needProvider(context);
  await needFfmpeg();
  const { frames, keep, size } = scaleOf(context);
  const folder = towerIn(context);
  await makeModels(folder, scaleOf(context));
  const models = { vision: folder, projector: projectorIn(folder), device: context.device, visionPrecision: 'float16' };
  const vlm = await LongVLM.load({ ...models, frames, segmentFrames, tokensPerSegment: keep, globalLayers: 3 });
  const encodeVideo = () => vlm.encode(join(root, 'models/nano/demo.mp4'));
  // What is loaded once is not counted, nor are the features of this video, which come down at the latest with the next one.
  const before = await encodeVideo();
  await vlm.project(before);
  need(before.local.data.length > 0, 'no features');
  const started = performance.now();
  const { result, counted } = await countCopies(context, async () => vlm.project(await encodeVideo()));
  const milliseconds = performance.now() - started;
  await vlm.dispose();
  const bytes = { frameBytes: frames * size ** 2 * 3, embeddingBytes: result.data.byteLength };
  yield { frames, ...bytes, counted, ...(!context.emulated && { withDecodingMilliseconds: milliseconds }) };
  const { frameBytes, embeddingBytes } = bytes;
  const agrees = (found, wanted) => found >= wanted && found <= wanted + counted.smallBytes;
  need(counted.small <= mostSmall, `${counted.small} small copies`);
  need(agrees(counted.up, frameBytes), `${counted.up} bytes went up for ${frameBytes} of frames`);
  need(agrees(counted.down, embeddingBytes), `${counted.down} bytes came down for ${embeddingBytes} of embeddings`);
  need(counted.other === 0, `${counted.other} copies whose bytes are not known`);
}

/** A segment over and over, into memory that holds NaN before: the same bits each time. */
export async function* repeats(context) {
  const times = context.emulated ? 3 : 100;
  const { scale, tower, pixels } = await prepare(context, 'float16', segmentFrames);
  const shapes = shapesOf(tower.config, segmentFrames);
  const up = await DeviceBuffer.upload(pixels);
  const out = onDevice(shapes);
  const filled = onHost(shapes);
  const hashes = new Set();
  for (let time = 0; time < times; time++) {
    for (const name of Object.keys(shapes)) await out[name].upload(filled[name]);
    await encode(tower, up, out, segmentFrames);
    const merged = await mergeTokens(asSegments(out.patches, segmentFrames), { heads: scale.heads, keep: scale.keep });
    const hash = createHash('sha256');
    for (const buffer of [out.patches, out.summaries, merged.tokens, merged.assignment]) {
      const { data } = await buffer.download();
      need(data.every(Number.isFinite), `values that are not finite, the ${time + 1}th time`);
      hash.update(data);
    }
    hashes.add(hash.digest('hex'));
    dispose(merged);
  }
  await tower.release();
  dispose(up, out);
  yield { times, different: hashes.size };
  need(hashes.size === 1, `${hashes.size} different results of ${times} equal runs`);
}
