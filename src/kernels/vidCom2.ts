import { float32Tensor, type TensorInput } from '../base/tensor.js';
import { checkInteger, checkObject, wrongValue } from '../base/validate.js';
import { pickTokens } from './pickTokens.js';
import {
  checkRetentionRatio,
  checkVideoTokens,
  type ReducedVideo,
  type ReducerCallOptions,
  roundToEven,
  runOnHost,
  type VideoSize,
} from './reduction.js';
import { selectTopK } from './selectTopK.js';

/** Options of {@link vidCom2}. */
export type VidCom2Options = ReducerCallOptions & {
  /** Part of a frame's tokens to keep on the average, above 0, at most 1. One of this and `tokens` must be given. */
  readonly retentionRatio?: number;
  /** Tokens of the whole video to keep, exactly so many: one of each frame at least, all of each at most. */
  readonly tokens?: number;
};

const temperature = 0.01;

/**
 * VidCom2: keeps the tokens of each frame that are least like the video and the frame, more of them in frames that are unlike the
 * video.
 *
 * Over the half of the channels with the lowest variance, tokens are scaled to length 1. A likeness is a sum of
 * `exp(-d² / 2α)`, α from ⅛ to 2, of the distance d from the mean of all tokens (v) or of the frame's (f). A frame keeps
 * `round(patches · retentionRatio · (1 + p - mean of p))` tokens, p being the softmax of -mean v / 0.01 over the frames; one at
 * least, all at most; with `tokens`, which the authors' code has not, frames share these in the same proportion, by largest
 * remainder. Those with the lowest v + f are kept as they are; of equals the lower index.
 *
 * @param tokens `[frames, patches, channels]`, float32 or float16. Do not write to them until the promise settles
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; the message says where
 */
export async function vidCom2(tokens: TensorInput, options: VidCom2Options): Promise<ReducedVideo> {
  const { signal } = checkObject('options', options);
  const video = checkVideoTokens(tokens);
  const { frames, patches, tensor, dims } = video;
  const amount = vidCom2Amount(video, options);
  const outVideo = new Float32Array(frames * patches);
  const outFrame = new Float32Array(frames * patches);
  await runOnHost(signal, { tokens: tensor.data, dims, outVideo, outFrame }, (native, args) =>
    native.gaussianScores(args),
  );
  const unlike = Array.from({ length: frames }, (_, frame) => {
    const own = outVideo.subarray(frame * patches, (frame + 1) * patches);
    return -own.reduce((sum, score) => sum + score, 0) / patches;
  });
  const highest = unlike.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  const powers = unlike.map((value) => Math.exp((value - highest) / temperature));
  const sum = powers.reduce((total, power) => total + power, 0);
  const scales = powers.map((power) => 1 + power / sum - 1 / frames);
  const { ratio, total } = amount;
  const budgets =
    ratio === undefined
      ? shareOut(total, scales, patches)
      : scales.map((scale) => Math.max(1, roundToEven(Math.min(1, ratio * scale) * patches)));
  const scores = outVideo.map((score, i) => -(score + outFrame[i]!));
  const indices = await selectTopK(float32Tensor(scores, [frames, patches]), budgets, { signal });
  return await pickTokens('vidCom2', video, indices, signal);
}

/** @internal Checks which part of the tokens, or how many of them, are kept. */
export function vidCom2Amount(
  { frames, patches }: VideoSize,
  { retentionRatio, tokens }: VidCom2Options,
): { ratio: number; total?: never } | { ratio?: never; total: number } {
  if (tokens === undefined) return { ratio: checkRetentionRatio(retentionRatio) };
  if (retentionRatio !== undefined) wrongValue('retentionRatio', 'nothing, as tokens is given,', retentionRatio);
  return { total: checkInteger('tokens', tokens, frames, frames * patches) };
}

/** Whole numbers from 1 to `most` that are in proportion to `weights`, as far as they can be, and whose sum is `total`. */
function shareOut(total: number, weights: readonly number[], most: number): number[] {
  const wanted = weights.map((weight) => (total * weight) / weights.length);
  const shares = wanted.map((share) => Math.max(1, Math.min(most, Math.floor(share))));
  let left = total - shares.reduce((sum, share) => sum + share, 0);
  while (left !== 0) {
    const step = Math.sign(left);
    // The frame that lacks most, or has most too many; of equals the first.
    let chosen = -1;
    for (const [frame, share] of shares.entries()) {
      const isOpen = step > 0 ? share < most : share > 1;
      const lack = step * (wanted[frame]! - share);
      if (isOpen && (chosen < 0 || lack > step * (wanted[chosen]! - shares[chosen]!))) chosen = frame;
    }
    shares[chosen]! += step;
    left -= step;
  }
  return shares;
}
