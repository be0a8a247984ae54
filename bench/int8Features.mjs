// How similar features of videos in int8 are to those in float32, with nano or with other models.
//
//   node bench/int8Features.mjs test/fixtures/world/*.{avi,mkv,mp4,webm} [--model nano]
import { parseArgs } from 'node:util';
import { LongVLM } from '../dist/index.js';
import { cosine } from './cosine.mjs';

const { values, positionals } = parseArgs({ options: { model: { type: 'string' } }, allowPositionals: true });
if (positionals.length === 0) throw new Error('Name the videos.');
const load = (visionPrecision) =>
  LongVLM.load({
    ...(values.model && { model: values.model }),
    device: 'cpu',
    cache: false,
    lazy: true,
    visionPrecision,
  });
const [whole, rounded] = [await load('float32'), await load('int8')];

const found = { local: [], global: [] };
for (const video of positionals) {
  const [due, features] = [await whole.encode(video), await rounded.encode(video)];
  for (const name of ['local', 'global']) found[name].push(cosine(features[name].data, due[name].data));
}
for (const [name, cosines] of Object.entries(found)) {
  const mean = cosines.reduce((sum, value) => sum + value) / cosines.length;
  const [least, middle] = [Math.min(...cosines), cosines.toSorted((a, b) => a - b)[cosines.length >> 1]];
  console.log(
    `${name}: ${cosines.length} videos, cosine ${mean.toFixed(4)} in the mean, ${middle.toFixed(4)} in the median, ${least.toFixed(4)} at least`,
  );
}
await Promise.all([whole.dispose(), rounded.dispose()]);
