// Reducers of a video's tokens that are on a GPU.
import { elementCount } from '../base/tensor.js';
import { checkSignal, wrongValue } from '../base/validate.js';
import {
  type NativeBinding,
  type NativeDeviceBuffer,
  type NativeDims,
  type NativeTask,
  runNative,
} from '../binding.js';
import { nativeDims } from './arguments.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { devicePlace, ownInputs } from './place.js';
import { type KeptPlaces, type ReducedVideo, reportOf } from './reduction.js';

/**
 * A video's tokens, reduced on the GPU that holds them. The tokens stay there, and are yours to dispose; indices, sizes and
 * report are on the host.
 */
export type ReducedDeviceVideo = Omit<ReducedVideo, 'tokens'> & {
  /** `[K, channels]`, of the input's type. */
  readonly tokens: DeviceBuffer;
};

/** A video's tokens on a GPU, checked. */
export type DeviceVideo = {
  readonly buffer: DeviceBuffer;
  readonly dims: NativeDims;
  readonly frames: number;
  readonly patches: number;
  readonly channels: number;
};

/** @throws TypeError or RangeError unless `buffer` has floats [frames, patches, channels] */
export function checkDeviceVideo(buffer: DeviceBuffer): DeviceVideo {
  devicePlace(buffer.deviceIndex).checkFloats('tokens', buffer, ['frames', 'patches', 'channels']);
  const dims = nativeDims(buffer.dims);
  const [frames, patches, channels] = dims;
  return { buffer, dims, frames, patches, channels };
}

/** Tokens of an entry whose products with each other kernels store: 1 GiB. */
const mostProductRows = 16384;

/** @internal Whether a GPU can store the products of so many tokens of an entry. */
export const fitsProducts = (tokens: number) => tokens <= mostProductRows;

/** Checks that the products of all tokens of an entry can be stored, and returns their number. */
export function checkProductRows(tokens: DeviceBuffer, [, count]: NativeDims): number {
  const axis = tokens.dims.length - 2;
  if (!fitsProducts(count))
    wrongValue(`tokens.dims[${axis}]`, `at most ${mostProductRows} tokens of an entry on a GPU`, count);
  return count;
}

/** Calls `work` with a copy of integers on the GPU of `on`, which is freed afterwards. */
export async function withIntegers<Result>(
  on: DeviceBuffer,
  data: Int32Array,
  signal: AbortSignal | null | undefined,
  work: (buffer: DeviceBuffer) => Promise<Result>,
): Promise<Result> {
  const device = `cuda:${on.deviceIndex}` as const;
  const buffer = await DeviceBuffer.upload({ type: 'int32', data, dims: [data.length] }, { device, signal });
  try {
    return await work(buffer);
  } finally {
    buffer.dispose();
  }
}

/** Copies rows of `from`, `[..., channels]`, by their numbers, to `out`, `[indices, channels]` of the same type. */
export async function gatherRows(
  from: DeviceBuffer,
  indices: Int32Array,
  out: DeviceBuffer,
  signal: AbortSignal | null | undefined,
): Promise<void> {
  const channels = from.dims.at(-1)!;
  const dims: NativeDims = [1, elementCount(from.dims) / channels, channels];
  const args = { tokens: from.native(), dims, count: indices.length, outTokens: out.native() };
  await withIntegers(from, indices, signal, (list) =>
    runNative((native) => native.gatherTokens({ ...args, indices: list.native() }), checkSignal(signal)),
  );
}

/** What every operation that keeps tokens takes. */
type KeepingArgs = {
  readonly tokens: NativeDeviceBuffer;
  readonly dims: NativeDims;
  readonly outTokens: NativeDeviceBuffer;
};

/** Runs an operation that keeps `count` tokens and drops the others; `indicesOf` says which, when it has run. */
export async function keepOnDevice(
  method: string,
  video: DeviceVideo,
  count: number,
  signal: AbortSignal | null | undefined,
  start: (native: NativeBinding, args: KeepingArgs) => NativeTask,
  indicesOf: () => Promise<Int32Array>,
): Promise<ReducedDeviceVideo> {
  const { buffer, dims, frames, patches, channels } = video;
  const place = devicePlace(buffer.deviceIndex);
  try {
    const tokens = place.allocate(buffer.type, [count, channels]) as DeviceBuffer;
    const args = { tokens: buffer.native(), dims, outTokens: tokens.native() };
    await runNative((native) => start(native, ownInputs(args)), checkSignal(signal));
    const kept = { indices: await indicesOf(), sizes: new Float32Array(count).fill(1) };
    return { tokens, ...reportOf(method, video, { ...kept, dropped: frames * patches - count }) };
  } catch (error) {
    place.release();
    throw error;
  }
}

/** As {@link keepOnDevice}, for an operation that finds the indices, too: they are copied to the host. */
export async function pickOnDevice(
  method: string,
  video: DeviceVideo,
  count: number,
  signal: AbortSignal | null | undefined,
  start: (native: NativeBinding, args: KeepingArgs & { readonly outIndices: NativeDeviceBuffer }) => NativeTask,
): Promise<ReducedDeviceVideo> {
  const place = devicePlace(video.buffer.deviceIndex);
  try {
    const found = place.allocate('int32', [count]) as DeviceBuffer;
    return await keepOnDevice(
      method,
      video,
      count,
      signal,
      (native, args) => start(native, { ...args, outIndices: found.native() }),
      async () => (await found.download({ signal })).data as Int32Array,
    );
  } finally {
    place.release();
  }
}

/** What an operation that counts what it keeps says of that; the first of each are written. */
type Counted = {
  readonly indices: Int32Array;
  readonly sizes: Float32Array;
  readonly starts: Int32Array;
  readonly counts: Int32Array;
};

type CountingArgs = KeepingArgs & {
  readonly outIndices: NativeDeviceBuffer;
  readonly outSizes: NativeDeviceBuffer;
  readonly outStarts: NativeDeviceBuffer;
  readonly outCounts: NativeDeviceBuffer;
};

/** Numbers that an operation counts, at most. */
const mostCounts = 3;

/**
 * Runs an operation that keeps at most `bound` tokens. What it says of them is copied to the host when it has run; `keptOf` takes from
 * what it counted how many they are, and `placesOf` what is reported.
 */
export async function countOnDevice(
  method: string,
  video: DeviceVideo,
  bound: number,
  signal: AbortSignal | null | undefined,
  start: (native: NativeBinding, args: CountingArgs) => NativeTask,
  keptOf: (counts: Int32Array) => number,
  placesOf: (found: Counted) => KeptPlaces,
): Promise<ReducedDeviceVideo> {
  const { buffer, dims, frames, channels } = video;
  const results = devicePlace(buffer.deviceIndex);
  const others = devicePlace(buffer.deviceIndex);
  try {
    const all = results.allocate(buffer.type, [bound, channels]) as DeviceBuffer;
    const integers = others.allocate('int32', [bound + frames + mostCounts]) as DeviceBuffer;
    const outSizes = others.allocate('float32', [bound]) as DeviceBuffer;
    const views = [
      integers.rows(0, bound),
      integers.rows(bound, bound + frames),
      integers.rows(bound + frames, bound + frames + mostCounts),
    ] as const;
    try {
      const [outIndices, outStarts, outCounts] = [views[0].native(), views[1].native(), views[2].native()];
      const args = { tokens: buffer.native(), dims, outTokens: all.native(), outSizes: outSizes.native() };
      await runNative(
        (native) => start(native, ownInputs({ ...args, outIndices, outStarts, outCounts })),
        checkSignal(signal),
      );
    } finally {
      for (const view of views) view.dispose();
    }
    const found = (await integers.download({ signal })).data as Int32Array;
    const sizes = (await outSizes.download({ signal })).data as Float32Array;
    const counts = found.slice(bound + frames);
    const kept = keptOf(counts);
    const places = placesOf({
      indices: found.slice(0, kept),
      sizes: sizes.slice(0, kept),
      starts: found.slice(bound, bound + frames),
      counts,
    });
    const tokens = kept === bound ? all : all.rows(0, kept);
    if (tokens !== all) all.dispose();
    return { tokens, ...reportOf(method, video, places) };
  } catch (error) {
    results.release();
    throw error;
  } finally {
    others.release();
  }
}
