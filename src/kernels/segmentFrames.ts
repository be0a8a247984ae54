import { type Float32Tensor, float32Tensor, type TensorInput, toFloat32 } from '../base/tensor.js';
import { checkInteger, checkNumber, checkObject } from '../base/validate.js';
import { checkFilledTensor } from './arguments.js';
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
 * @param features `[frames, channels]`, such as the frames' mean tokens; float32 or float16
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the features hold NaN or infinity; the message says where
 */
export async function segmentFrames(features: TensorInput, options: SegmentFramesOptions = {}): Promise<FrameSegments> {
  const { threshold = 0.9, minSegments = 1, signal } = checkObject('options', options);
  const { data, dims } = toFloat32(checkFilledTensor('features', features, ['frames', 'channels']));
  const [frames, channels] = dims as [number, number];
  const outCosines = new Float32Array(frames - 1);
  const outStarts = new Int32Array(frames);
  const args = {
    features: data,
    dims: [1, frames, channels] as const,
    threshold: checkNumber('threshold', threshold, -1, 1),
    segments: checkInteger('minSegments', minSegments, 1),
    outCosines,
    outStarts,
  };
  await runOnHost(signal, args, (native, read) => native.segmentFrames(read));
  return { lengths: segmentLengths(outStarts), similarities: float32Tensor(outCosines, [frames - 1]) };
}
