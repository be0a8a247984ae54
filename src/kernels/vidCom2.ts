import { float32Tensor, type Tensor } from '../base/tensor.js';
import { checkObject } from '../base/validate.js';
import { pickTokens } from './pickTokens.js';
import {
  checkRetentionRatio,
  checkVideoTokens,
  type ReducedVideo,
  type ReducerCallOptions,
  roundToEven,
  runOnHost,
} from './reduction.js';
import { selectTopK } from './selectTopK.js';

/** Options of {@link vidCom2}. */
export type VidCom2Options = ReducerCallOptions & {
  /** Part of a frame's tokens to keep on the average, above 0, at most 1. */
  readonly retentionRatio: number;
};

const temperature = 0.01;

/**
 * VidCom2: keeps the tokens of each frame that are least like the video and the frame, more of them in frames that are unlike the
 * video.
 *
 * Over the half of the channels with the lowest variance, tokens are scaled to length 1. A likeness is a sum of
 * `exp(-d² / 2α)`, α from ⅛ to 2, of the distance d from the mean of all tokens (v) or of the frame's (f). A frame keeps
 * `round(patches · retentionRatio · (1 + p - mean of p))` tokens, p being the softmax of -mean v / 0.01 over the frames; one at
 * least, all at most. Those with the lowest v + f are kept as they are; of equals the lower index.
 *
 * @param tokens `[frames, patches, channels]`, float32 or float16. Do not write to them until the promise settles
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; the message says where
 */
export async function vidCom2(tokens: Tensor, options: VidCom2Options): Promise<ReducedVideo> {
  const { retentionRatio, signal } = checkObject('options', options);
  const video = checkVideoTokens(tokens);
  const { frames, patches, tensor, dims } = video;
  const ratio = checkRetentionRatio(retentionRatio);
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
  const budgets = powers.map((power) => {
    const scale = Math.min(1, ratio * (1 + power / sum - 1 / frames));
    return Math.max(1, roundToEven(scale * patches));
  });
  const scores = outVideo.map((score, i) => -(score + outFrame[i]!));
  const indices = await selectTopK(float32Tensor(scores, [frames, patches]), budgets, signal && { signal });
  return await pickTokens('vidCom2', video, indices, signal);
}
