// Whole videos in the product, reduced in the memory of the GPU between tower and projector, by each method: against what the host makes
// of the same tower's tokens, and against the CPU's whole way.
import { join } from 'node:path';
import { float32Tensor } from '../../dist/base/tensor.js';
import { gatherOnDevice } from '../../dist/encode/deviceSegments.js';
import { gatherVideoOnDevice } from '../../dist/encode/deviceVideo.js';
import { gatherOnHost, gatherWholeVideo } from '../../dist/encode/gatheredTokens.js';
import { Projector } from '../../dist/index.js';
import { reducesVideos } from '../../dist/reduce/reducer.js';
import { makeReducer } from '../../dist/reduce/reducers.js';
import { squareShape } from '../../dist/tower/frameShape.js';
import { Tower } from '../../dist/tower/tower.js';
import { countCopies, difference, median, need, needProvider, root } from './common.mjs';
import { makeFrames, makeModels, projectorIn, scaleOf, segmentFrames } from './tower.mjs';

/** With CLIP's attention where it ranks tokens and nothing else is said. The first two take segments. */
const methods = [
  { reduction: 'merge' },
  { reduction: 'pick' },
  { reduction: 'vcast' },
  { reduction: 'fastvid', anchorStep: 2 },
  { reduction: 'fastvid', anchorStep: 2, attention: 'norm' },
  { reduction: 'flashvid' },
  { reduction: 'flashvid', attention: 'div' },
  { reduction: 'evs' },
  { reduction: 'vidcom2' },
  { reduction: 'aim' },
  { reduction: 'uniform' },
  { reduction: 'random' },
];

const takesSegments = ({ reduction }) => reduction === 'merge' || reduction === 'pick';
const behindProjector = methods
  .filter((method) => !takesSegments(method) && method.attention === undefined)
  .map((method) => ({ ...method, stage: 'projector' }));

const nameOf = ({ reduction, attention, stage = 'tower' }) =>
  `${reduction}${attention ? `, ${attention}` : ''}, behind the ${stage}`;

/** `frames` of a video, which are read by `framesOfRead`, and of whose tokens a part is kept. */
function videoOf(frames, framesOfRead, size, retention) {
  const { data } = makeFrames(frames, size);
  const bytes = framesOfRead * size ** 2 * 3;
  const reads = Array.from({ length: frames / framesOfRead }, (_, read) =>
    data.slice(read * bytes, (read + 1) * bytes),
  );
  return { frames, framesOfRead, reads, bytes: data.length, globalLayers: 3, retention };
}

async function openModels({ path, projector }, device, precision) {
  const tower = await Tower.open({ path, precision, device, lazy: true });
  return { tower, projector: await Projector.load(projector, { device, lazy: true }) };
}

const disposeAll = (models) =>
  Promise.all(models.flatMap(({ tower, projector }) => [tower.dispose(), projector.dispose()]));

/** What takes a video's frames, as the product sets it up; undefined where it would go to the host instead. */
async function gatheringOf(models, { reduction, ...options }, video, onHost) {
  const { tower } = models;
  const { config } = tower;
  const { frames, framesOfRead, globalLayers, retention, framesAtOnce } = video;
  const shape = squareShape(config);
  const { patches, grid } = shape;
  const tokensPerSegment = Math.round(retention * framesOfRead * patches);
  const reducer = makeReducer(reduction, {
    tokensPerSegment,
    mergeHeads: config.heads,
    tokens: (tokensPerSegment * frames) / framesOfRead,
    options,
    ...(config.attention && { attention: config.attention }),
  });
  if (!reducesVideos(reducer)) {
    const encoder = { tower, shape, projector: undefined, reducer };
    const segments = { frames, segmentFrames: framesOfRead, tokensPerSegment, globalLayers };
    return onHost
      ? gatherOnHost(encoder, segments, undefined)
      : gatherOnDevice(encoder, segments, undefined, framesAtOnce);
  }
  const projector = reducer.stage === 'projector' ? models.projector : undefined;
  const encoder = { tower, shape, projector };
  const all = { frames, patches, grid, channels: projector?.outChannels ?? config.channels };
  reducer.check(all);
  const whole = { frames, segmentFrames: frames, tokensPerSegment: reducer.count(all), globalLayers };
  if (onHost) return gatherWholeVideo(encoder, reducer, whole, all, undefined);
  const given = { reducer, shape: whole, video: all, stepsOfRead: framesOfRead };
  return gatherVideoOnDevice(encoder, given, undefined, framesAtOnce);
}

/** From frames to embeddings [tokens, width] on the host. What else was found may still be on the GPU. */
async function encode(models, method, video, onHost) {
  const gathering = await gatheringOf(models, method, video, onHost);
  need(gathering, 'it would be reduced on the host');
  try {
    for (const frames of video.reads) await gathering.add(frames.slice());
    const found = await gathering.finish();
    const { onDevice, global, local, sizes } = found;
    const [rows, channels] = [global.dims[0] + sizes.data.length, global.dims[1]];
    const inTokens = async () => {
      await onDevice?.bringDown();
      return float32Tensor(Float32Array.of(...global.data, ...local.data), [rows, channels]);
    };
    if (method.stage === 'projector') return { ...found, embeddings: await inTokens(), inTokens };
    const { projector } = models;
    if (!onDevice) return { ...found, embeddings: await projector.project(await inTokens()), inTokens };
    const there = onDevice.rows(0, rows);
    const embeddings = await projector.projectOnDevice(there, undefined);
    there.dispose();
    return { ...found, embeddings, inTokens };
  } finally {
    gathering.dispose();
  }
}

/** What a run is compared by. */
async function resultOf(run) {
  const { embeddings, sizes, positions, inTokens } = await run;
  const tokens = (await inTokens()).data;
  return { embeddings: embeddings.data, tokens, sizes: sizes.data, positions };
}

const sameValues = (a, b) => a === b || (a.length === b.length && a.every((value, i) => value === b[i]));

/** The part of one's tokens that the other has kept, too. Merged ones have no places: then of sizes that are the same. */
function shared(found, wanted) {
  const [a, b] = [found.positions ?? found.sizes, wanted.positions ?? wanted.sizes];
  if (!found.positions) return a.filter((size, i) => size === b[i]).length / a.length;
  const kept = new Set(b);
  return a.filter((position) => kept.has(position)).length / Math.max(a.length, b.length);
}

/**
 * How far a result may be from one of the same patches, and from the CPU's, relative to the largest value. In float16 means are rounded
 * to halves (2^-11), which the projector adds up; and a GPU's patches are others than a CPU's, so that other tokens may be kept (with
 * float16 instead of float32 on one CPU at most 2 of 100 are others).
 */
const allowed = {
  float32: { here: { tokens: 1e-6, embeddings: 1e-5 }, cpu: { tokens: 1e-5, embeddings: 1e-5 } },
  float16: { here: { tokens: 2 ** -10, embeddings: 2 ** -8 }, cpu: { shared: 0.95 } },
};

/** What is wrong with a result, in words; `measured` gets the figures. */
function* wrong(found, wanted, limits, measured) {
  if (limits.shared !== undefined) {
    measured.kept = shared(found, wanted);
    if (measured.kept < limits.shared) yield `only ${measured.kept} of the tokens kept are the same`;
    return;
  }
  for (const part of ['positions', 'sizes'])
    if (!sameValues(found[part], wanted[part]))
      yield `other ${part}: ${shared(found, wanted)} of the tokens kept are the same`;
  for (const part of ['tokens', 'embeddings']) {
    const { most } = difference(found[part], wanted[part]);
    measured[part] = most;
    if (!(most <= limits[part])) yield `${part} differ by ${most} of the largest value, above ${limits[part]}`;
  }
}

/** Bytes that may move beside frames and embeddings: a few numbers for each patch, and for FastVID means of frames. */
const besides = ({ frames }, { patches, channels }) => 16 * frames * patches + 4 * frames * channels;

function* wronglyCopied({ up, down, across, other, smallBytes }, { bytes }, embeddings, most) {
  const slack = most + smallBytes;
  if (up < bytes || up > bytes + slack) yield `${up} bytes went up for ${bytes} of frames`;
  if (down < embeddings || down > embeddings + slack) yield `${down} bytes came down for ${embeddings} of embeddings`;
  if (across > 0) yield `${across} bytes were copied from one place on the device to another`;
  if (other > 0) yield `${other} copies whose bytes are not known`;
}

const picoFiles = () => {
  const folder = join(root, 'test/fixtures/pico');
  return { path: join(folder, 'clip'), projector: join(folder, 'projector.safetensors') };
};

/** Each method with a tiny model, whose tokens a CPU has at once. */
async function* compared(context, precision, problems) {
  const [cpu, gpu] = await Promise.all(
    ['cpu', context.device].map((device) => openModels(picoFiles(), device, precision)),
  );
  const { config } = gpu.tower;
  // The tests have the others.
  const isShort = context.emulated && precision === 'float16';
  // Runs of as many frames as on the host: of another number a GPU may compute patches with other last bits.
  const video = { ...videoOf(12, 4, config.imageSize, 0.3), framesAtOnce: 4 };
  for (const method of [...methods, ...(isShort ? [] : behindProjector)]) {
    const name = `${precision}, ${nameOf(method)}`;
    const measured = {};
    const note = (found) => problems.push(...Array.from(found, (problem) => `${name}: ${problem}`));
    try {
      // What is loaded once is not counted.
      if (!context.emulated) await resultOf(encode(gpu, method, video, false));
      const { result: run, counted } = await countCopies(context, () => encode(gpu, method, video, false));
      if (counted) {
        const { up, down, across } = counted;
        measured.copied = { up, down, across };
        note(wronglyCopied(counted, video, run.embeddings.data.byteLength, besides(video, config)));
      }
      const found = await resultOf(run);
      for (const [where, models] of Object.entries({ here: gpu, cpu })) {
        const wanted = await resultOf(encode(models, method, video, true));
        measured[where] = {};
        const than = where === 'here' ? 'than the host makes of the same patches' : "than the CPU's";
        note(
          Array.from(wrong(found, wanted, allowed[precision][where], measured[where]), (text) => `${text} (${than})`),
        );
      }
    } catch (error) {
      note([error.message]);
    }
    yield { [name]: measured };
  }
  await disposeAll([cpu, gpu]);
}

/** Milliseconds from frames in memory to embeddings, and bytes. */
async function timeOf(context, models, method, video) {
  const rounds = context.emulated ? 0 : 3;
  const times = [];
  // The first is for what is loaded once.
  for (let round = 0; round <= rounds; round++) {
    const started = performance.now();
    const { onDevice } = await encode(models, method, video, false);
    if (round > 0) times.push(performance.now() - started);
    await onDevice.bringDown();
  }
  const { result, counted } = await countCopies(context, () => encode(models, method, video, false));
  const { up, down, across } = counted ?? {};
  return {
    milliseconds: median(times),
    tokens: result.embeddings.dims[0],
    ...(counted && { copied: { up, down, across } }),
  };
}

/** Each method at the size of a real tower; emulated only to show that it works. */
async function* timed(context, problems) {
  const scale = scaleOf(context);
  const folder = join(context.folder, 'tower');
  await makeModels(folder, scale);
  const models = await openModels({ path: folder, projector: projectorIn(folder) }, context.device, 'float16');
  const video = videoOf(scale.frames, segmentFrames, scale.size, context.emulated ? 0.3 : 0.1);
  for (const method of methods) {
    const name = `${video.frames} frames, float16, ${nameOf(method)}`;
    try {
      const found = await timeOf(context, models, method, video);
      if (!context.emulated) yield { [name]: found };
    } catch (error) {
      problems.push(`${name}: ${error.message}`);
    }
  }
  await disposeAll([models]);
}

export async function* reductions(context) {
  needProvider(context);
  const problems = [];
  for (const precision of ['float32', 'float16']) yield* compared(context, precision, problems);
  yield* timed(context, problems);
  need(problems.length === 0, problems.join('\n'));
}
