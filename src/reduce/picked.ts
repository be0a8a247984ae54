import { checkAllFinite } from '../base/largeTensor.js';
import { float32Tensor } from '../base/tensor.js';
import {
  random as pickAtRandom,
  uniform as pickEvenly,
  type RandomOptions,
  type UniformOptions,
} from '../kernels/index.js';
import { checkSeed, pickedCount, randomIndices, uniformIndices } from '../kernels/pickTokens.js';
import { reportOf } from '../kernels/reduction.js';
import type { SegmentShape, VideoReduction } from './reducer.js';
import { tokensOf, type VideoMethod, videoKind } from './videoMethod.js';

/** Takes tokens whose places are known beforehand as they come by. `positions` are ascending. */
function picking(
  name: string,
  { frames, patches, channels }: SegmentShape,
  positions: Int32Array,
  signal: AbortSignal | undefined,
): VideoReduction {
  const count = positions.length;
  const data = new Float32Array(count * channels);
  const tokens = float32Tensor(data, [count, channels]);
  let seen = 0;
  let taken = 0;
  return {
    async add(given) {
      signal?.throwIfAborted();
      const before = seen;
      seen += given.dims[0]!;
      for (; taken < count && positions[taken]! < seen; taken++) {
        const from = (positions[taken]! - before) * channels;
        data.set(given.data.subarray(from, from + channels), taken * channels);
      }
    },
    async finish() {
      await checkAllFinite('tokens', tokens, 'Check the weights that they come from.');
      const sizes = new Float32Array(count).fill(1);
      const kept = { indices: positions, sizes, dropped: frames * patches - count };
      const { report } = reportOf(name, { frames, patches }, kept);
      return { tokens, sizes: float32Tensor(sizes, [count]), positions, report };
    },
  };
}

const byTokens = {
  gathers: false,
  least: () => [1, 'it keeps one'] as const,
  withTokens: <Options extends object>(video: SegmentShape, options: Options, tokens: number) => ({
    ...options,
    retentionRatio: tokens / tokensOf(video),
  }),
};

const evenly: VideoMethod<UniformOptions> = {
  ...byTokens,
  name: 'uniform',
  options: [],
  count: (video, { retentionRatio }) => pickedCount(video, retentionRatio),
  start: (video, { retentionRatio }, signal) =>
    picking('uniform', video, uniformIndices(video, pickedCount(video, retentionRatio)), signal),
  onDevice: (_, options) => (tokens, call) => pickEvenly(tokens, { ...options, ...call }),
};

const atRandom: VideoMethod<RandomOptions> = {
  ...byTokens,
  name: 'random',
  options: ['seed'],
  count(video, { retentionRatio, seed = 0 }) {
    checkSeed(seed);
    return pickedCount(video, retentionRatio);
  },
  start: (video, { retentionRatio, seed = 0 }, signal) =>
    picking('random', video, randomIndices(video, pickedCount(video, retentionRatio), seed), signal),
  onDevice: (_, options) => (tokens, call) => pickAtRandom(tokens, { ...options, ...call }),
};

/** Tokens at even distances of the whole video: what every method is to be compared with. Keeps exactly the budget. */
export const uniform = videoKind(evenly);

/** Tokens at random: what every method is to be compared with. Keeps exactly the budget. */
export const random = videoKind(atRandom);
