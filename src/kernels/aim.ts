import type { TensorInput } from '../base/tensor.js';
import { checkInteger, checkObject } from '../base/validate.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { checkDeviceVideo, countOnDevice, type ReducedDeviceVideo } from './deviceReduction.js';
import {
  allocateLike,
  checkVideoTokens,
  type ReducedVideo,
  type ReducerCallOptions,
  reducedVideo,
  runOnHost,
  type VideoSize,
} from './reduction.js';

/** Options of {@link aim}. */
export type AimOptions = ReducerCallOptions & {
  /** How often the tokens of a frame are halved. Defaults to `2`: a quarter is left; with `tokensPerFrame` to as often as needed. */
  readonly steps?: number;
  /** Tokens of a frame that are left at least: the last step merges no more than are above. Defaults to `1`. */
  readonly tokensPerFrame?: number;
};

/**
 * AIM's merging before the language model: bipartite soft matching inside each frame, half of the tokens at each step, with plain
 * means. A merged token stands where its token of B does.
 *
 * Gives what {@link bipartiteSoftMatching} and {@link Matching.merge} give with at most `floor(tokens / 2)`, step after step.
 *
 * @param tokens `[frames, patches, channels]`, float32 or float16. Do not write to them until the promise settles
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; the message says where
 */
export async function aim(tokens: TensorInput, options?: AimOptions): Promise<ReducedVideo>;
/**
 * The same on the GPU that holds the tokens, bit by bit, and the tokens kept stay there. bfloat16 is possible, too; each step rounds
 * to the tokens' type.
 */
export async function aim(tokens: DeviceBuffer, options?: AimOptions): Promise<ReducedDeviceVideo>;
export async function aim(
  tokens: TensorInput | DeviceBuffer,
  options: AimOptions = {},
): Promise<ReducedVideo | ReducedDeviceVideo> {
  const { signal } = checkObject('options', options);
  const settings = aimSettings(options);
  if (tokens instanceof DeviceBuffer) {
    const video = checkDeviceVideo(tokens);
    const { schedule, count } = aimSchedule(video, settings);
    return await countOnDevice(
      'aim',
      video,
      count,
      signal,
      (native, args) => native.aim({ ...args, schedule }),
      () => count,
      ({ indices, sizes }) => ({ indices, sizes, dropped: 0 }),
    );
  }
  const video = checkVideoTokens(tokens);
  const { frames, patches, channels, tensor, dims } = video;
  const { schedule, count } = aimSchedule(video, settings);
  const outTokens = allocateLike(tensor, count * channels);
  const outIndices = new Int32Array(count);
  const outSizes = new Float32Array(count);
  const outOwners = new Int32Array(frames * patches);
  const args = { tokens: tensor.data, dims, schedule, outTokens, outIndices, outSizes, outOwners };
  await runOnHost(signal, args, (native, read) => native.aim(read));
  const result = { tokens: outTokens, indices: outIndices, sizes: outSizes, owners: outOwners, dropped: 0 };
  return reducedVideo('aim', video, result, count);
}

/** How many tokens of a frame each step merges, and how many of all frames are left. */
function aimSchedule({ frames, patches }: VideoSize, { steps, tokensPerFrame }: ReturnType<typeof aimSettings>) {
  const schedule: number[] = [];
  let kept = patches;
  for (let step = 0; step < steps; step++) {
    const r = Math.min(Math.floor(kept / 2), kept - tokensPerFrame);
    if (r <= 0) break;
    schedule.push(r);
    kept -= r;
  }
  return { schedule, count: frames * kept };
}

/** @internal Checks options. */
export function aimSettings({ steps, tokensPerFrame }: AimOptions): { steps: number; tokensPerFrame: number } {
  return {
    steps: checkInteger('steps', steps ?? (tokensPerFrame === undefined ? 2 : 32), 0, 32),
    tokensPerFrame: checkInteger('tokensPerFrame', tokensPerFrame ?? 1, 1),
  };
}
