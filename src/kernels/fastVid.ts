import { type TensorInput, toFloat32 } from '../base/tensor.js';
import { checkFinite, checkInteger, checkNumber, checkObject } from '../base/validate.js';
import { checkFilledTensor } from './arguments.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { checkDeviceVideo, checkProductRows, type ReducedDeviceVideo } from './deviceReduction.js';
import { fastVidOnDevice } from './fastVidOnDevice.js';
import {
  allocateLike,
  checkRetentionRatio,
  checkVideoTokens,
  type ReducedVideo,
  type ReducerCallOptions,
  reducedVideo,
  runOnHost,
  share,
  type VideoSize,
} from './reduction.js';

/** Options of {@link fastVid}; in brackets the paper's symbols. */
export type FastVidOptions = ReducerCallOptions & {
  /** `[frames, patches]`, how important each token is: of a tower with a class token, the attention that it pays them. */
  readonly attention: TensorInput;
  /** `[frames, any]`, what frames are compared by, such as the tower's pooled output. Defaults to their mean tokens. */
  readonly frameFeatures?: TensorInput;
  /** Part of a frame's tokens to keep, above 0, at most 1 (r). */
  readonly retentionRatio: number;
  /** Segments to cut the video into at least, as far as it has frames (c). Defaults to `8`. */
  readonly segments?: number;
  /** Frames whose cosine with the next is below it end a segment (tau). Defaults to `0.9`. */
  readonly threshold?: number;
  /** Part of the tokens to keep that others merge into, 0 to 1 (d). Defaults to `0.4`. */
  readonly contextRatio?: number;
  /** One in so many frames of a segment, counted from its last, has anchors (p). Defaults to `4`. */
  readonly anchorStep?: number;
  /** The least weight of an anchor in its blend with what merges into it, 0 to 1. Defaults to `0.6`. */
  readonly beta?: number;
};

const notFinite = 'Only finite values can be compared.';

/**
 * FastVID: the tokens of each frame with the most attention stay as they are; the others merge into density peaks of a few frames
 * of each segment.
 *
 * Of N patches, `K = floor(N · retentionRatio)` are a frame's share, `context = floor(K · contextRatio)` of these for anchors.
 * In a segment of L frames, each of its `ceil(L / anchorStep)` anchor frames gets `floor(context · L / anchor frames)` anchors:
 * the tokens with the highest density (of the 4 nearest, itself among them) times distance to the nearest denser one. Every
 * token of the segment that is not kept for its attention goes to the most similar anchor of each anchor frame; where an anchor
 * frame has just its own share, only the frame's own tokens do, as in the authors' code. The result is
 * `w · anchor + (1 - w) · mean`, with `w = max(1 / (tokens + 1), beta)`. Of equals the lower index comes first; a zero token is
 * similar to nothing. No more anchors are made than a frame has tokens left; with a share of all tokens nothing is done.
 * A token may go into an anchor of several frames: `owners` name that of the nearest, of two as near the earlier one.
 *
 * Runs on all cores, off the JavaScript thread; the result is the same to the last bit on every instruction set and with any
 * number of threads. Do not write to the tensors until the promise settles.
 *
 * @param tokens `[frames, patches, channels]`, float32 or float16
 * @throws TypeError or RangeError when an argument is wrong, also when the share of a frame is less than one token
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when a tensor holds NaN or infinity; the message says where
 *
 * @example
 * const { tokens, indices } = await fastVid(videoTokens, { attention, retentionRatio: 0.1 });
 */
export async function fastVid(tokens: TensorInput, options: FastVidOptions): Promise<ReducedVideo>;
/**
 * The same on the GPU that holds the tokens, bit by bit, and the tokens kept stay there. Attention and features are on the host.
 * Means of frames, centres and sizes come to the host on the way, as what follows depends on them. At most 16,384 patches.
 */
export async function fastVid(tokens: DeviceBuffer, options: FastVidOptions): Promise<ReducedDeviceVideo>;
export async function fastVid(
  tokens: TensorInput | DeviceBuffer,
  options: FastVidOptions,
): Promise<ReducedVideo | ReducedDeviceVideo> {
  const { signal } = checkObject('options', options);
  if (tokens instanceof DeviceBuffer) {
    const video = checkDeviceVideo(tokens);
    checkProductRows(tokens, video.dims);
    const { weights, features, numbers } = readOptions(options, video.frames, video.patches);
    return await fastVidOnDevice(video, weights, features, numbers, signal);
  }
  const video = checkVideoTokens(tokens);
  const { frames, patches, channels, tensor, dims } = video;
  const { weights, features, numbers, kept } = readOptions(options, frames, patches);
  const outTokens = allocateLike(tensor, frames * kept * channels);
  const out = {
    outTokens,
    outIndices: new Int32Array(frames * kept),
    outSizes: new Float32Array(frames * kept),
    outStarts: new Int32Array(frames),
    outCounts: new Int32Array(1),
    outOwners: new Int32Array(frames * patches),
  };
  const args = {
    tokens: tensor.data,
    dims,
    attention: weights.data,
    frameFeatures: features?.data,
    featureWidth: features?.dims[1] ?? channels,
    ...numbers,
    ...out,
  };
  await runOnHost(signal, args, (native, read) => native.fastVid(read));
  const { outIndices: indices, outSizes: sizes, outStarts: starts, outOwners: owners, outCounts } = out;
  const dropped = owners.reduce((sum, owner) => sum + (owner < 0 ? 1 : 0), 0);
  return reducedVideo('fastVid', video, { tokens: outTokens, indices, sizes, owners, dropped, starts }, outCounts[0]!);
}

/** Checks the options, for a video of this size. */
function readOptions(options: FastVidOptions, frames: number, patches: number) {
  const { attention, frameFeatures } = options;
  const weights = toFloat32(checkFilledTensor('attention', attention, [frames, patches]));
  checkFinite('attention', weights, notFinite);
  const features =
    frameFeatures === undefined
      ? undefined
      : toFloat32(checkFilledTensor('frameFeatures', frameFeatures, [frames, 'channels']));
  if (features) checkFinite('frameFeatures', features, notFinite);
  const { kept, ...settings } = fastVidSettings({ frames, patches }, options);
  const numbers = { salient: kept - settings.context, ...settings };
  return { weights, features, numbers, kept };
}

/** @internal Checks options; at most `kept` tokens of each frame are kept, `context` of them anchors. */
export function fastVidSettings({ patches }: VideoSize, options: Omit<FastVidOptions, 'attention' | 'frameFeatures'>) {
  const { retentionRatio, segments = 8, threshold = 0.9, contextRatio = 0.4, anchorStep = 4, beta = 0.6 } = options;
  const kept = checkShare(patches, checkRetentionRatio(retentionRatio));
  const part = checkNumber('contextRatio', contextRatio, 0, 1);
  return {
    kept,
    // With a share of all tokens there is nothing to merge.
    context: kept === patches ? 0 : Math.floor(share(kept, part)),
    segments: checkInteger('segments', segments, 1),
    threshold: checkNumber('threshold', threshold, -1, 1),
    anchorStep: checkInteger('anchorStep', anchorStep, 1),
    beta: checkNumber('beta', beta, 0, 1),
  };
}

/** How many tokens of a frame are kept. */
function checkShare(patches: number, ratio: number): number {
  const kept = Math.floor(share(patches, ratio));
  if (kept > 0) return kept;
  throw new RangeError(
    `Expected retentionRatio of at least ${1 / patches}, one of ${patches} patches, but received ${ratio}`,
  );
}
