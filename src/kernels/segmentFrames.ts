import { type Float32Tensor, float32Tensor, type TensorInput, toFloat32 } from '../base/tensor.js';
import { checkInteger, checkNumber, checkObject, checkSignal, wrongValue } from '../base/validate.js';
import { runNative } from '../binding.js';
import { checkFilledTensor } from './arguments.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { devicePlace } from './place.js';
import { type ReducerCallOptions, runOnHost, segmentLengths } from './reduction.js';

export type SegmentFramesOptions = ReducerCallOptions & {
  /** Frames whose cosine with the next is below it end a segment. Defaults to `0.9`. */
  readonly threshold?: number;
  /** At least so many segments, as far as there are frames: the lowest other cosines become cuts, too. Defaults to `1`. */
  readonly minSegments?: number;
};

/** Where a video is cut. */
export type FrameSegments = {
  /** Frames of each segment. */
  readonly lengths: readonly number[];
  /** `[frames - 1]`, the cosine of each frame but the last with the next; 0 for a zero feature. */
  readonly similarities: Float32Tensor;
};

/**
 * Cuts a video where neighbouring frames are unlike, as FastVID and FlashVID do. Of equal cosines the first is cut first.
 *
 * @param features `[frames, channels]`, such as the frames' mean tokens; float32 or float16, on the host; or float32 on a GPU, which
 *   then computes the same, bit by bit
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the features hold NaN or infinity; the message says where
 */
export async function segmentFrames(
  features: TensorInput | DeviceBuffer,
  options: SegmentFramesOptions = {},
): Promise<FrameSegments> {
  const { threshold = 0.9, minSegments = 1, signal } = checkObject('options', options);
  const settings = {
    threshold: checkNumber('threshold', threshold, -1, 1),
    segments: checkInteger('minSegments', minSegments, 1),
  };
  if (features instanceof DeviceBuffer) return await onDevice(features, settings, signal);
  const { data, dims } = toFloat32(checkFilledTensor('features', features, ['frames', 'channels']));
  const [frames, channels] = dims as [number, number];
  const outCosines = new Float32Array(frames - 1);
  const outStarts = new Int32Array(frames);
  const args = { features: data, dims: [1, frames, channels] as const, ...settings, outCosines, outStarts };
  await runOnHost(signal, args, (native, read) => native.segmentFrames(read));
  return { lengths: segmentLengths(outStarts), similarities: float32Tensor(outCosines, [frames - 1]) };
}

async function onDevice(
  features: DeviceBuffer,
  settings: { readonly threshold: number; readonly segments: number },
  signal: AbortSignal | null | undefined,
): Promise<FrameSegments> {
  const place = devicePlace(features.deviceIndex);
  place.checkFloats('features', features, ['frames', 'channels']);
  if (features.type !== 'float32') wrongValue('features.type', "'float32'", features.type);
  const [frames, channels] = features.dims as [number, number];
  try {
    const cosines = place.allocate('float32', [Math.max(1, frames - 1)]) as DeviceBuffer;
    const starts = place.allocate('int32', [frames]) as DeviceBuffer;
    const outputs = { outCosines: cosines.native(), outStarts: starts.native() };
    const args = { features: features.native(), dims: [1, frames, channels] as const, ...settings, ...outputs };
    await runNative((native) => native.segmentFrames(args), checkSignal(signal));
    const found = (await cosines.download({ signal })).data as Float32Array;
    const lengths = segmentLengths((await starts.download({ signal })).data as Int32Array);
    return { lengths, similarities: float32Tensor(found.slice(0, frames - 1), [frames - 1]) };
  } finally {
    place.release();
  }
}
