// Reduces made videos by every method, in a process of its own whose environment chooses the threads. Prints a hash of all
// that each result says, by method and video.
import { createHash } from 'node:crypto';
import { aim, evs, fastVid, flashVid, vCast, vidCom2 } from '../../dist/kernels/index.js';

/** Scenes of five frames; patches drift, and every eleventh is new. */
function video([frames, patches, channels]) {
  const size = patches * channels;
  const data = new Float32Array(frames * size);
  let state = size;
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    const fresh = Math.floor(i / size) % 5 === 0 || Math.floor(i / channels) % 11 === 0;
    data[i] = fresh ? state * 2 ** -31 : data[i - size] + 0.1 * state * 2 ** -31;
  }
  return { type: 'float32', data, dims: [frames, patches, channels] };
}

const hashes = {};
// Fewer frames than threads, which then share them; more; and more patches than are in a block.
for (const shape of [
  [1, 150, 24],
  [2, 9, 8],
  [11, 70, 40],
]) {
  const tokens = video(shape);
  const [frames, patches] = shape;
  const attention = {
    type: 'float32',
    data: tokens.data.slice(0, frames * patches).map(Math.abs),
    dims: shape.slice(0, 2),
  };
  const options = { retentionRatio: 0.3, attention };
  for (const method of [vCast, fastVid, flashVid, evs, vidCom2, aim]) {
    const { tokens: kept, indices, sizes, report } = await method(tokens, options);
    const hash = createHash('sha256').update(kept.data).update(indices).update(sizes.data).update(report.text);
    hashes[`${report.method} ${shape}`] = hash.digest('hex');
  }
}
console.log(JSON.stringify(hashes));
