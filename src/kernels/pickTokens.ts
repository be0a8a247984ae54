// Reducers that pick tokens and leave them as they are, whatever they hold: what every other is compared with.
import type { Tensor, TensorInput } from '../base/tensor.js';
import { checkInteger, checkObject } from '../base/validate.js';
import type { NativeBinding, NativeDims, NativeTask } from '../binding.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { checkDeviceVideo, keepOnDevice, type ReducedDeviceVideo, withIntegers } from './deviceReduction.js';
import {
  allocateLike,
  checkRetentionRatio,
  checkVideoTokens,
  type ReducedVideo,
  type ReducerCallOptions,
  reducedVideo,
  roundToEven,
  runOnHost,
  share,
  type VideoSize,
  type VideoTokens,
} from './reduction.js';

export type UniformOptions = ReducerCallOptions & {
  /** Part of all tokens to keep, above 0, at most 1. */
  readonly retentionRatio: number;
};

export type RandomOptions = UniformOptions & {
  /** Where the random numbers begin, an integer from 0 to 2³² - 1. Defaults to `0`. */
  readonly seed?: number;
};

/** @internal Copies the tokens at `indices`, ascending, as the result of `method`. */
export async function pickTokens(
  method: string,
  video: VideoTokens,
  indices: Int32Array,
  signal: unknown,
): Promise<ReducedVideo> {
  const { tensor, dims, channels } = video;
  const count = indices.length;
  const outTokens = allocateLike(tensor, count * channels);
  await runOnHost(signal, { tokens: tensor.data, dims, count, indices, outTokens }, (native, args) =>
    native.gatherTokens(args),
  );
  return pickedVideo(method, video, outTokens, indices);
}

/** @internal Runs an operation that picks `count` tokens and says which. */
export async function pickOnHost(
  method: string,
  video: VideoTokens,
  count: number,
  signal: unknown,
  start: (native: NativeBinding, args: PickingArgs) => NativeTask,
): Promise<ReducedVideo> {
  const { tensor, dims, channels } = video;
  const outTokens = allocateLike(tensor, count * channels);
  const outIndices = new Int32Array(count);
  await runOnHost(signal, { tokens: tensor.data, dims, outTokens, outIndices }, start);
  return pickedVideo(method, video, outTokens, outIndices);
}

type PickingArgs = {
  readonly tokens: Tensor['data'];
  readonly dims: NativeDims;
  readonly outTokens: Tensor['data'];
  readonly outIndices: Int32Array;
};

function pickedVideo(method: string, video: VideoTokens, tokens: Tensor['data'], indices: Int32Array): ReducedVideo {
  const count = indices.length;
  const dropped = video.frames * video.patches - count;
  return reducedVideo(method, video, { tokens, indices, sizes: new Float32Array(count).fill(1), dropped }, count);
}

/** The tokens at the indices that `choose` gives for a video of so many tokens and so many to keep. */
async function pick(
  method: string,
  tokens: TensorInput | DeviceBuffer,
  { retentionRatio, signal }: UniformOptions,
  choose: (video: VideoSize, count: number) => Int32Array,
): Promise<ReducedVideo | ReducedDeviceVideo> {
  const chosen = (video: VideoSize) => choose(video, pickedCount(video, retentionRatio));
  if (!(tokens instanceof DeviceBuffer)) {
    const video = checkVideoTokens(tokens);
    return await pickTokens(method, video, chosen(video), signal);
  }
  const video = checkDeviceVideo(tokens);
  const indices = chosen(video);
  const count = indices.length;
  return await withIntegers(tokens, indices, signal, (buffer) =>
    keepOnDevice(
      method,
      video,
      count,
      signal,
      (native, args) => native.gatherTokens({ ...args, count, indices: buffer.native() }),
      async () => indices,
    ),
  );
}

/** @internal How many tokens of a video are kept: of halves the even number, and one at least. */
export function pickedCount({ frames, patches }: VideoSize, retentionRatio: unknown): number {
  return Math.max(1, roundToEven(share(frames * patches, checkRetentionRatio(retentionRatio))));
}

/**
 * Picks tokens at even distances: of `K = round(frames · patches · retentionRatio)` the i-th is number
 * `floor((i + ½) · frames · patches / K)`.
 *
 * @param tokens `[frames, patches, channels]`, float32 or float16. Do not write to them until the promise settles
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when a picked token holds NaN or infinity; the message says where
 */
export async function uniform(tokens: TensorInput, options: UniformOptions): Promise<ReducedVideo>;
/** The same on the GPU that holds the tokens, and the tokens kept stay there. */
export async function uniform(tokens: DeviceBuffer, options: UniformOptions): Promise<ReducedDeviceVideo>;
export async function uniform(
  tokens: TensorInput | DeviceBuffer,
  options: UniformOptions,
): Promise<ReducedVideo | ReducedDeviceVideo> {
  checkObject('options', options);
  return await pick('uniform', tokens, options, uniformIndices);
}

/** @internal The positions of `count` tokens at even distances. */
export function uniformIndices({ frames, patches }: VideoSize, count: number): Int32Array {
  const all = frames * patches;
  return Int32Array.from({ length: count }, (_, i) => Math.floor(((2 * i + 1) * all) / (2 * count)));
}

/**
 * Picks `round(frames · patches · retentionRatio)` tokens at random: the first steps of a Fisher-Yates shuffle of all token
 * numbers, step i exchanging it with number `i + floor(u · (tokens - i))`, where u are the numbers of the generator mulberry32,
 * which begins with `seed`. The same seed picks the same tokens everywhere.
 *
 * @param tokens `[frames, patches, channels]`, float32 or float16. Do not write to them until the promise settles
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when a picked token holds NaN or infinity; the message says where
 */
export async function random(tokens: TensorInput, options: RandomOptions): Promise<ReducedVideo>;
/** The same on the GPU that holds the tokens, and the tokens kept stay there. */
export async function random(tokens: DeviceBuffer, options: RandomOptions): Promise<ReducedDeviceVideo>;
export async function random(
  tokens: TensorInput | DeviceBuffer,
  options: RandomOptions,
): Promise<ReducedVideo | ReducedDeviceVideo> {
  const { seed = 0 } = checkObject('options', options);
  return await pick('random', tokens, options, (video, count) => randomIndices(video, count, checkSeed(seed)));
}

/** @internal */
export function checkSeed(seed: unknown): number {
  return checkInteger('seed', seed, 0, 2 ** 32 - 1);
}

/** @internal The positions of `count` tokens at random, ascending. */
export function randomIndices({ frames, patches }: VideoSize, count: number, seed: number): Int32Array {
  const next = mulberry32(seed);
  const order = Int32Array.from({ length: frames * patches }, (_, i) => i);
  for (let i = 0; i < count; i++) {
    const other = i + Math.floor(next() * (order.length - i));
    [order[i], order[other]] = [order[other]!, order[i]!];
  }
  return order.slice(0, count).sort();
}

/** Numbers from 0 up to 1, in steps of 2^-32. */
function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
