import type { TensorInput } from '../base/tensor.js';
import { checkInteger, checkNumber, checkObject, checkOneOf, wrongValue } from '../base/validate.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { checkDeviceVideo, pickOnDevice, type ReducedDeviceVideo } from './deviceReduction.js';
import { pickOnHost } from './pickTokens.js';
import {
  checkRetentionRatio,
  checkVideoTokens,
  type ReducedVideo,
  type ReducerCallOptions,
  roundToEven,
  share,
  type VideoSize,
} from './reduction.js';

/** Options of {@link vCast}; in brackets the paper's symbols. */
export type VCastOptions = ReducerCallOptions & {
  /** Part of all tokens to keep, above 0, at most 1 (r). */
  readonly retentionRatio: number;
  /** Tokens that every frame keeps, at most its patches (min_k). Defaults to `1`. */
  readonly minTokens?: number;
  /** How evenly frames share the others, above 0: the higher, the more evenly. Defaults to `0.7`. */
  readonly temperature?: number;
  /**
   * Who gets what is left when each frame has the whole part of its share. `'remainder'`: the frames with the largest fractions,
   * one token each. `'reference'`: the frame with the largest fraction, until it is full, then the next, as in the authors' code.
   *
   * Defaults to `'remainder'`.
   */
  readonly leftover?: 'remainder' | 'reference';
};

/**
 * V-CAST: picks the tokens of each frame that stand out, more of them where the video turns.
 *
 * Frames share the budget by the softmax of the curvature of the path of their mean tokens. A token's score is its distance from
 * the frame's mean by angle, plus its length, from 0 for the frame's shortest to 1 for its longest. No attention is needed. Of
 * equal scores the lower index is kept. Keeps `max(round(frames · patches · retentionRatio), frames · minTokens)` tokens as they
 * are, of halves the even number.
 *
 * Runs on all cores, off the JavaScript thread; the result is the same to the last bit on every instruction set and with any
 * number of threads. Do not write to the tokens until the promise settles.
 *
 * @param tokens `[frames, patches, channels]`, float32 or float16
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; the message says where
 *
 * @example
 * const { tokens, indices } = await vCast(videoTokens, { retentionRatio: 0.25 });
 */
export async function vCast(tokens: TensorInput, options: VCastOptions): Promise<ReducedVideo>;
/** The same on the GPU that holds the tokens, bit by bit, and the tokens kept stay there. bfloat16 is possible, too. */
export async function vCast(tokens: DeviceBuffer, options: VCastOptions): Promise<ReducedDeviceVideo>;
export async function vCast(
  tokens: TensorInput | DeviceBuffer,
  options: VCastOptions,
): Promise<ReducedVideo | ReducedDeviceVideo> {
  const { signal } = checkObject('options', options);
  if (tokens instanceof DeviceBuffer) {
    const video = checkDeviceVideo(tokens);
    const numbers = vCastSettings(video, options);
    return await pickOnDevice('vCast', video, numbers.total, signal, (native, args) =>
      native.vCast({ ...args, ...numbers }),
    );
  }
  const video = checkVideoTokens(tokens);
  const numbers = vCastSettings(video, options);
  return await pickOnHost('vCast', video, numbers.total, signal, (native, args) =>
    native.vCast({ ...args, ...numbers }),
  );
}

/** @internal Checks options; `total` tokens are kept of a video of that size. */
export function vCastSettings({ frames, patches }: VideoSize, options: VCastOptions) {
  const { retentionRatio, minTokens = 1, temperature = 0.7, leftover = 'remainder' } = options;
  const ratio = checkRetentionRatio(retentionRatio);
  const least = checkInteger('minTokens', minTokens, 0, patches);
  if (checkNumber('temperature', temperature, 0) === 0 || temperature === Number.POSITIVE_INFINITY)
    wrongValue('temperature', 'finite number above 0', temperature);
  const leftoverByReference = checkOneOf('leftover', leftover, ['remainder', 'reference']) === 'reference';
  const total = Math.max(roundToEven(share(frames * patches, ratio)), frames * least, 1);
  return { total, least, temperature, leftoverByReference };
}
