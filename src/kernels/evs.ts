import type { TensorInput } from '../base/tensor.js';
import { checkObject } from '../base/validate.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { checkDeviceVideo, pickOnDevice, type ReducedDeviceVideo } from './deviceReduction.js';
import { pickOnHost } from './pickTokens.js';
import {
  checkRetentionRatio,
  checkVideoTokens,
  type ReducedVideo,
  type ReducerCallOptions,
  share,
  type VideoSize,
} from './reduction.js';

/** Options of {@link evs}; in brackets the paper's symbols. */
export type EvsOptions = ReducerCallOptions & {
  /** Part of all tokens to keep, above 0, at most 1 (1 - q). */
  readonly retentionRatio: number;
};

/**
 * EVS: keeps the first frame, and of all others the tokens that changed most since the frame before, by 1 - cosine of the same
 * place. Keeps `max(patches, floor(frames · patches · retentionRatio))` tokens as they are; of equal changes the first. A zero
 * token changes from and to everything.
 *
 * @param tokens `[frames, patches, channels]`, float32 or float16. Do not write to them until the promise settles
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; the message says where
 */
export async function evs(tokens: TensorInput, options: EvsOptions): Promise<ReducedVideo>;
/** The same on the GPU that holds the tokens, bit by bit, and the tokens kept stay there. bfloat16 is possible, too. */
export async function evs(tokens: DeviceBuffer, options: EvsOptions): Promise<ReducedDeviceVideo>;
export async function evs(
  tokens: TensorInput | DeviceBuffer,
  options: EvsOptions,
): Promise<ReducedVideo | ReducedDeviceVideo> {
  const { retentionRatio, signal } = checkObject('options', options);
  if (tokens instanceof DeviceBuffer) {
    const video = checkDeviceVideo(tokens);
    const total = evsCount(video, retentionRatio);
    return await pickOnDevice('evs', video, total, signal, (native, args) => native.evs({ ...args, total }));
  }
  const video = checkVideoTokens(tokens);
  const total = evsCount(video, retentionRatio);
  return await pickOnHost('evs', video, total, signal, (native, args) => native.evs({ ...args, total }));
}

/** @internal How many tokens of a video are kept: its first frame at least. */
export function evsCount({ frames, patches }: VideoSize, retentionRatio: unknown): number {
  return Math.max(patches, Math.floor(share(frames * patches, checkRetentionRatio(retentionRatio))));
}
