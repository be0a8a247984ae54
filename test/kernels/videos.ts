// Made videos for the reducers: scenes that hold, move and cut.
import { type Float32Tensor, float32Tensor } from '../../dist/base/tensor.js';
import type { ReducedVideo } from '../../dist/kernels/index.js';
import { random, values } from './tensors.js';

/** Scenes of a few frames each; within one, patches drift and a few are new. */
export function madeVideo(seed: number, [frames, patches, channels]: readonly [number, number, number]): Float32Tensor {
  const next = random(seed);
  const normal = () => next() + next() + next() - 1.5;
  const data = new Float32Array(frames * patches * channels);
  const size = patches * channels;
  for (let frame = 0; frame < frames; frame++) {
    const cut = frame === 0 || next() < 0.25;
    for (let i = 0; i < size; i++) {
      const fresh = cut || (Math.floor(i / channels) + frame) % 5 === 0;
      data[frame * size + i] = fresh ? normal() : data[(frame - 1) * size + i]! + 0.2 * normal();
    }
  }
  return float32Tensor(data, [frames, patches, channels]);
}

/** Positive weights that add up to 1 in each frame, as attention does. */
export function madeAttention(seed: number, [frames, patches]: readonly [number, number]): Float32Tensor {
  const next = random(seed);
  const data = Float32Array.from({ length: frames * patches }, () => 0.01 + next() ** 3);
  for (let frame = 0; frame < frames; frame++) {
    const row = data.subarray(frame * patches, (frame + 1) * patches);
    const sum = row.reduce((total, value) => total + value, 0);
    for (let i = 0; i < patches; i++) row[i]! /= sum;
  }
  return float32Tensor(data, [frames, patches]);
}

/** All that a result says, to be compared bit by bit. */
export const bitsOf = ({ tokens, indices, sizes, owners, report }: ReducedVideo) => ({
  dims: tokens.dims,
  tokens: Buffer.from(tokens.data.buffer, tokens.data.byteOffset, tokens.data.byteLength).toString('base64'),
  indices: [...indices],
  sizes: values(sizes),
  owners: owners && [...owners],
  report,
});
