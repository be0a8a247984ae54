// Methods for whole videos whose tokens are on a GPU: they are reduced there.
import type { Float32Tensor } from '../base/tensor.js';
import type { DeviceBuffer, ReducedDeviceVideo } from '../kernels/index.js';
import type { SegmentShape, VideoReducer } from './reducer.js';

/** What a method gets beside tokens. */
export type DeviceCall = {
  /** [frames, patches], on the host, for a reducer that asked for it. */
  readonly attention?: Float32Tensor;
  readonly signal?: AbortSignal;
};

/** Reduces the embeddings [frames, patches, width] of a video on their GPU. Tokens that are kept stay there, for the caller to dispose. */
export type ReduceOnDevice = (embeddings: DeviceBuffer, call: DeviceCall) => Promise<ReducedDeviceVideo>;

// What is in here gives on a GPU what it gives on the host.
const methods = new WeakMap<VideoReducer, (video: SegmentShape) => ReduceOnDevice | undefined>();

/** Tells how a reducer works on a GPU, for videos of which it can. */
export function reducesOnDevice(
  reducer: VideoReducer,
  onDevice: (video: SegmentShape) => ReduceOnDevice | undefined,
): VideoReducer {
  methods.set(reducer, onDevice);
  return reducer;
}

/** Tells that a reducer is a copy of another one. */
export function reducesLike(copy: VideoReducer, reducer: VideoReducer): VideoReducer {
  const onDevice = methods.get(reducer);
  return onDevice ? reducesOnDevice(copy, onDevice) : copy;
}

/** How a reducer reduces a video on a GPU: a built-in one, not one that somebody made of it. Undefined where the host alone can. */
export function deviceReduction(reducer: VideoReducer, video: SegmentShape): ReduceOnDevice | undefined {
  return methods.get(reducer)?.(video);
}
