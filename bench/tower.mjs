// Compares our graph of a vision tower, in float32 and int8, with the same tower as PyTorch exports it, in one run.
//
//   python bench/tower.py build/tower && node bench/tower.mjs build/tower [--frames 2] [--rounds 12]
//
// All three take turns in ONNX Runtime on the same threads, so that other load affects all of them. The speed-up over
// PyTorch's export is computed for each round; the median over the rounds is reported.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { toEightBits } from '../dist/cache/eightBitMatrices.js';
import { OrtSession } from '../dist/compute/ortSession.js';
import { openTower } from '../dist/tower/families.js';
import { cosine } from './cosine.mjs';

const { values, positionals } = parseArgs({
  options: { frames: { type: 'string', default: '2' }, rounds: { type: 'string', default: '12' } },
  allowPositionals: true,
});
const folder = positionals[0];
if (folder === undefined) throw new Error('Name the folder that bench/tower.py filled.');
const tower = await openTower(folder);
const { config } = tower;

const open = (model) => OrtSession.load(model, { device: 'cpu' });
const ours = async (eightBits) => open(await tower.graph({ input: 'float32', eightBits }));
const exported = readFileSync(join(folder, 'exported.onnx'));
const sessions = {
  'exported by PyTorch': await open({ bytes: exported, weightsFolder: undefined }),
  ours: await ours(undefined),
  'ours, int8': await ours(await toEightBits(tower.linear, folder)),
};

const frames = Number(values.frames);
const size = config.imageSize;
// A picture with low and high frequencies, because real pictures are not plain noise.
const data = Float32Array.from(
  { length: frames * 3 * size * size },
  (_, i) => Math.sin(i / 997) + 0.3 * Math.sin(i * 1.7),
);
const pixels = { type: 'float32', data, dims: [frames, 3, size, size] };
const dims = [frames, config.patches, config.channels];
const times = Object.fromEntries(Object.keys(sessions).map((name) => [name, []]));
const outputs = {};
async function run(session) {
  const patches = { type: 'float32', data: new Float32Array(dims[0] * dims[1] * dims[2]), dims };
  await session.run({ rows: frames, batch: frames, inputs: { pixels }, outputs: { patches } });
  return patches.data;
}
for (const session of Object.values(sessions)) await run(session);
for (let round = 0; round < Number(values.rounds); round++)
  for (const [name, session] of Object.entries(sessions)) {
    const started = performance.now();
    outputs[name] = await run(session);
    times[name].push((performance.now() - started) / frames);
  }

const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];

console.log(
  `${tower.details.layers} layers x ${config.channels}, ${size} px, batches of ${frames} frames, ${values.rounds} rounds`,
);
const exportedTimes = times['exported by PyTorch'];
for (const [name, found] of Object.entries(times)) {
  const speed = median(found.map((milliseconds, round) => exportedTimes[round] / milliseconds));
  const alike = cosine(outputs[name], outputs['exported by PyTorch']);
  const frame = `${Math.min(...found).toFixed(1)} ms a frame at best, ${median(found).toFixed(1)} in the median`;
  console.log(`${name.padEnd(20)} ${frame}; ${speed.toFixed(2)} times as fast; cosine ${alike.toFixed(5)}`);
}
for (const session of Object.values(sessions)) await session.release();
