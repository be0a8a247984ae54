// The reducers and their parts on the GPU against the CPU's, bit by bit, and how long both take.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { openSafetensors, readTensor } from '../../dist/files/safetensors.js';
import * as kernels from '../../dist/kernels/index.js';
import { median, need, root } from './common.mjs';

const { DeviceBuffer } = kernels;

/** Frames that drift, with a cut every eight. */
function madeVideo([frames, patches, channels], seed) {
  const size = patches * channels;
  const data = new Float32Array(frames * size);
  let state = seed;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state / 2 ** 31;
  };
  for (let i = 0; i < data.length; i++)
    data[i] = Math.floor(i / size) % 8 === 0 ? next() : data[i - size] + 0.2 * next();
  return { type: 'float32', data, dims: [frames, patches, channels] };
}

/** float32 to the upper half of its bits: any bits of 16 are a float16, and these are finite. */
const asHalf = ({ data, dims }) => ({
  type: 'float16',
  data: Uint16Array.from(new Uint32Array(data.buffer), (bits) => (bits >>> 16) & 0xbbff),
  dims,
});

const attentionFor = ({ dims: [frames, patches] }) => {
  const data = Float32Array.from({ length: frames * patches }, (_, i) => ((i * 7919) % 4093) / 4093);
  return { type: 'float32', data, dims: [frames, patches] };
};
/** One token of a frame at least. */
const fastVidRatio = ({ dims: [, patches] }) => Math.max(0.25, 1 / patches);

const flat = ({ dims, ...tensor }) => ({ ...tensor, dims: [dims[0] * dims[1], dims[2]] });
const anchorsOf = ({ dims: [rows] }) => Array.from({ length: Math.ceil(rows / 8) }, (_, i) => i * 8);

/** Each takes tokens on the host or on the GPU. */
const calls = {
  vCast: (tokens) => kernels.vCast(tokens, { retentionRatio: 0.25 }),
  evs: (tokens) => kernels.evs(tokens, { retentionRatio: 0.25 }),
  vidCom2: (tokens) => kernels.vidCom2(tokens, { retentionRatio: 0.25 }),
  aim: (tokens) => kernels.aim(tokens),
  flashVid: (tokens) => kernels.flashVid(tokens, { retentionRatio: 0.25 }),
  'flashVid with attention': (tokens) =>
    kernels.flashVid(tokens, {
      attention: attentionFor(tokens),
      retentionRatio: 0.25,
      minSegments: 2,
      clusterPicked: true,
      exactBudget: true,
    }),
  uniform: (tokens) => kernels.uniform(tokens, { retentionRatio: 0.25 }),
  fastVid: (tokens) =>
    kernels.fastVid(tokens, { attention: attentionFor(tokens), retentionRatio: fastVidRatio(tokens) }),
  'temporalSimilarity place': (tokens) => kernels.temporalSimilarity(tokens),
  'temporalSimilarity best': (tokens) => kernels.temporalSimilarity(tokens, { match: 'best' }),
  densityPeaks: (tokens) => kernels.densityPeaks(tokens, { clusters: Math.ceil(tokens.dims[1] / 10) }),
  // A frame's tokens as its features.
  segmentFrames: async (tokens) => {
    const [frames, patches, channels] = tokens.dims;
    const dims = [frames, patches * channels];
    const features = tokens instanceof DeviceBuffer ? tokens.reshape(dims) : { ...tokens, dims };
    const { lengths, similarities } = await kernels.segmentFrames(features, { minSegments: 3 });
    return { lengths: Int32Array.from(lengths), similarities };
  },
  selectDiverse: async (tokens) => {
    const picked = await kernels.selectDiverse(tokens, Math.ceil(tokens.dims[1] / 10));
    return { picked };
  },
  assignToAnchors: (tokens) => {
    const rows = tokens instanceof DeviceBuffer ? tokens.reshape(flat(tokens).dims) : flat(tokens);
    return kernels.assignToAnchors(rows, anchorsOf(rows), { beta: 0.6 });
  },
};

/** The arrays of a result, by name, wherever they are; frees its buffers. */
async function arraysOf(result) {
  const arrays = {};
  for (const [name, value] of Object.entries(result)) {
    if (value instanceof DeviceBuffer) arrays[name] = (await value.download()).data;
    else if (ArrayBuffer.isView(value)) arrays[name] = value;
    else if (ArrayBuffer.isView(value?.data)) arrays[name] = value.data;
  }
  free(result);
  return arrays;
}

function free(result) {
  for (const value of Object.values(result)) if (value instanceof DeviceBuffer) value.dispose();
}

const bytesOf = ({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength);

async function compare(name, call, tokens, device) {
  const onDevice = await DeviceBuffer.upload(tokens, { device });
  const found = await arraysOf(await call(onDevice));
  onDevice.dispose();
  const wanted = await arraysOf(await call(tokens));
  for (const [key, array] of Object.entries(found))
    need(bytesOf(array).equals(bytesOf(wanted[key])), `${name}: ${key} differ from the CPU's`);
}

/** The golden files' tokens, and made ones with odd shapes. */
async function* cases(emulated) {
  const folder = join(root, 'test/fixtures/reducers');
  const files = readdirSync(folder).filter((name) => name.endsWith('.safetensors'));
  for (const file of emulated ? files.slice(-1) : files) {
    const location = (await openSafetensors(join(folder, file))).tensors.get('tokens');
    yield [file, { type: 'float32', data: await readTensor(location), dims: location.shape }];
  }
  const shapes = [
    [2, 1, 1],
    [3, 17, 5],
    [9, 196, 100],
    [33, 50, 260],
  ];
  for (const [i, shape] of (emulated ? shapes.slice(0, 2) : shapes).entries()) {
    const video = madeVideo(shape, i + 1);
    yield [`made [${shape}] float32`, video];
    yield [`made [${shape}] float16`, asHalf(video)];
  }
}

async function timesOf(call, tokens, rounds) {
  const times = [];
  for (let round = -1; round < rounds; round++) {
    const begin = performance.now();
    const result = await call(tokens);
    if (round >= 0) times.push(performance.now() - begin);
    free(result);
  }
  return median(times);
}

export async function* reducers({ device, emulated }) {
  let compared = 0;
  for await (const [name, tokens] of cases(emulated)) {
    for (const [method, call] of Object.entries(calls)) {
      // Features on a GPU are float32.
      if (method === 'segmentFrames' && tokens.type !== 'float32') continue;
      await compare(`${method}, ${name}`, call, tokens, device);
      compared++;
    }
  }
  yield { 'bit by bit the same as on the CPU': `${compared} cases` };
  if (emulated) return;
  const video = madeVideo([32, 196, 3584], 1);
  const onDevice = await DeviceBuffer.upload(video, { device });
  for (const [name, call] of Object.entries(calls)) {
    await compare(`${name}, [32,196,3584]`, call, video, device);
    const gpuMs = await timesOf(call, onDevice, 20);
    const cpuMs = await timesOf(call, video, 3);
    yield { [`${name} [32,196,3584] float32, whole calls`]: { gpuMs, cpuMs } };
  }
  onDevice.dispose();
}
