import type { TensorInput } from '../base/tensor.js';
import { checkInteger, checkObject, wrongValue } from '../base/validate.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { checkDeviceVideo, countOnDevice, type ReducedDeviceVideo } from './deviceReduction.js';
import { pickTokens } from './pickTokens.js';
import {
  checkRetentionRatio,
  checkVideoTokens,
  type ReducedVideo,
  type ReducerCallOptions,
  runOnHost,
  type VideoSize,
} from './reduction.js';

/** Options of {@link vidCom2}. */
export type VidCom2Options = ReducerCallOptions & {
  /** Part of a frame's tokens to keep on the average, above 0, at most 1. One of this and `tokens` must be given. */
  readonly retentionRatio?: number;
  /** Tokens of the whole video to keep, exactly so many: one of each frame at least, all of each at most. */
  readonly tokens?: number;
};

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
export async function vidCom2(tokens: TensorInput, options: VidCom2Options): Promise<ReducedVideo>;
/** The same on the GPU that holds the tokens, bit by bit, and the tokens kept stay there. bfloat16 is possible, too. */
export async function vidCom2(tokens: DeviceBuffer, options: VidCom2Options): Promise<ReducedDeviceVideo>;
export async function vidCom2(
  tokens: TensorInput | DeviceBuffer,
  options: VidCom2Options,
): Promise<ReducedVideo | ReducedDeviceVideo> {
  const { signal } = checkObject('options', options);
  if (tokens instanceof DeviceBuffer) {
    const video = checkDeviceVideo(tokens);
    const { bound, ...amount } = nativeAmount(video, options);
    return await countOnDevice(
      'vidCom2',
      video,
      bound,
      signal,
      (native, args) => native.vidCom2({ ...args, ...amount }),
      ([kept]) => kept!,
      ({ indices }) => {
        const { length } = indices;
        return { indices, sizes: new Float32Array(length).fill(1), dropped: video.frames * video.patches - length };
      },
    );
  }
  const video = checkVideoTokens(tokens);
  const { bound, ...amount } = nativeAmount(video, options);
  const outIndices = new Int32Array(bound);
  const outCounts = new Int32Array(1);
  const args = { tokens: video.tensor.data, dims: video.dims, ...amount, outIndices, outCounts };
  await runOnHost(signal, args, (native, read) => native.vidCom2(read));
  return await pickTokens('vidCom2', video, outIndices.slice(0, outCounts[0]), signal);
}

/** The amount as native code has it, and the most tokens that are kept: by a ratio each frame's number is rounded, and 1 at least. */
function nativeAmount(video: VideoSize, options: VidCom2Options): { total: number; ratio: number; bound: number } {
  const { ratio, total } = vidCom2Amount(video, options);
  if (ratio === undefined) return { total, ratio: 1, bound: total };
  const all = video.frames * video.patches;
  return { total: 0, ratio, bound: Math.min(all, Math.floor(all * ratio) + video.frames + 1) };
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
