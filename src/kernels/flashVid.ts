import { type Float32Tensor, type TensorInput, toFloat32 } from '../base/tensor.js';
import { checkBoolean, checkFinite, checkInteger, checkNumber, checkObject, wrongValue } from '../base/validate.js';
import { checkFilledTensor } from './arguments.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { checkDeviceVideo, checkProductRows, countOnDevice, type ReducedDeviceVideo } from './deviceReduction.js';
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

/** Options of {@link flashVid}; in brackets the names in the authors' code. */
export type FlashVidOptions = ReducerCallOptions & {
  /**
   * `[frames, patches]`, at least 0: the attention of the tower's class token, for the variant `attn_div`.
   *
   * Defaults to none: the variant `div`.
   */
  readonly attention?: TensorInput;
  /** Part of a frame's tokens to keep, above 0, at most 1 (retention_ratio). */
  readonly retentionRatio: number;
  /** Part of these that is picked, 0 to 1; the others are merged (alpha). Defaults to `0.7`. */
  readonly alpha?: number;
  /** Tokens merge with one of the frame before if their cosine is above it (temporal_threshold). Defaults to `0.8`. */
  readonly temporalThreshold?: number;
  /** Frames whose cosine with the next is below it end a segment (segment_threshold). Defaults to `0.9`. */
  readonly segmentThreshold?: number;
  /** Segments to cut the video into at least, as far as it has frames (min_segment_num). Defaults to `8`. */
  readonly minSegments?: number;
  /**
   * Computes as the authors' code does: divides what merged over time by the number of its direct children and itself, though the
   * children may be sums, and rounds and orders clusters as PyTorch does on a CPU. By default it is the true mean, and of
   * equal clusters the lowest index.
   *
   * Defaults to `false`.
   */
  readonly referenceCounts?: boolean;
  /**
   * In a segment of one frame the picked tokens are clustered, too, as in the authors' code: an index may then appear twice.
   *
   * Defaults to `referenceCounts`.
   */
  readonly clusterPicked?: boolean;
  /**
   * A video keeps at most `ceil(patches · retentionRatio)` tokens for each of its frames: the frames of a segment share its
   * clusters, one at least of each, where by default each rounds its share up.
   *
   * Defaults to `false`.
   */
  readonly exactBudget?: boolean;
};

/**
 * FlashVID, its vision side: each frame keeps the tokens that differ most from each other; the others merge with what they
 * continue from the frame before, and then into density peaks.
 *
 * Of N patches, `B = ceil(N · retentionRatio)` are a frame's share, of which `ceil(alpha · B)` are picked: by cosine distance,
 * times attention, always the token that is farthest from those picked. Of the others in a segment, each joins its most
 * similar one of the frame before if their cosine is above the threshold, which rises where less than the segment's share would be
 * left. What is left in each frame becomes density peak clusters (of 7 neighbours), in proportion, whose means stand at the
 * places of their centres. Of equals the lower index comes first; a zero token is similar to nothing.
 *
 * Runs on all cores, off the JavaScript thread; the result is the same to the last bit on every instruction set and with any
 * number of threads. Do not write to the tensors until the promise settles.
 *
 * @param tokens `[frames, patches, channels]`, float32 or float16
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when a tensor holds NaN or infinity; the message says where
 *
 * @example
 * const { tokens, indices } = await flashVid(videoTokens, { retentionRatio: 0.1 });
 */
export async function flashVid(tokens: TensorInput, options: FlashVidOptions): Promise<ReducedVideo>;
/**
 * The same on the GPU that holds the tokens, bit by bit, in one go, and the tokens kept stay there. bfloat16 is possible, too;
 * `referenceCounts` is not. `attention` is on the host. Takes at most 16,384 patches.
 */
export async function flashVid(tokens: DeviceBuffer, options: FlashVidOptions): Promise<ReducedDeviceVideo>;
export async function flashVid(
  tokens: TensorInput | DeviceBuffer,
  options: FlashVidOptions,
): Promise<ReducedVideo | ReducedDeviceVideo> {
  const { signal } = checkObject('options', options);
  if (tokens instanceof DeviceBuffer) return await onDevice(tokens, options);
  const video = checkVideoTokens(tokens);
  const { frames, patches, channels, tensor, dims } = video;
  const weights = checkAttention(video, options);
  const settings = flashVidSettings(video, options);
  const most = frames * (settings.budget + 1);
  const outTokens = allocateLike(tensor, most * channels);
  const out = {
    outTokens,
    outIndices: new Int32Array(most),
    outSizes: new Float32Array(most),
    outStarts: new Int32Array(frames),
    outCounts: new Int32Array(3),
    outOwners: new Int32Array(frames * patches),
  };
  const args = {
    tokens: tensor.data,
    dims,
    attention: weights?.data,
    ...settings,
    ...out,
  };
  await runOnHost(signal, args, (native, read) => native.flashVid(read));
  const { outIndices: indices, outSizes: sizes, outStarts: starts, outOwners: owners, outCounts } = out;
  const kept = { tokens: outTokens, indices, sizes, starts, owners, ...told(video, settings, outCounts) };
  return reducedVideo('flashVid', video, kept, outCounts[0]!);
}

function checkAttention({ frames, patches }: VideoSize, { attention }: FlashVidOptions): Float32Tensor | undefined {
  if (attention === undefined) return undefined;
  const weights = toFloat32(checkFilledTensor('attention', attention, [frames, patches]));
  checkFinite('attention', weights, 'Only finite values can be compared.');
  return weights;
}

/** What the report says beside numbers of tokens. */
function told({ frames, patches }: VideoSize, { budget, picked }: Settings, counts: Int32Array) {
  const [, overTime, inClusters] = counts;
  return {
    dropped: picked === budget ? frames * (patches - picked) : 0,
    details: [`${overTime} merged over time`, `${inClusters} in clusters`],
  };
}

async function onDevice(tokens: DeviceBuffer, options: FlashVidOptions): Promise<ReducedDeviceVideo> {
  const { signal } = options;
  const video = checkDeviceVideo(tokens);
  checkProductRows(tokens, video.dims);
  const attention = checkAttention(video, options);
  const settings = flashVidSettings(video, options);
  if (settings.referenceCounts)
    wrongValue('referenceCounts', 'false for tokens on a GPU, which does not round as PyTorch does on a CPU,', true);
  const device = `cuda:${tokens.deviceIndex}` as const;
  const weights = attention && (await DeviceBuffer.upload(attention, { device, signal }));
  try {
    return await countOnDevice(
      'flashVid',
      video,
      video.frames * (settings.budget + 1),
      signal,
      (native, args) => native.flashVid({ ...args, attention: weights?.native(), ...settings }),
      ([kept]) => kept!,
      ({ counts, ...places }) => ({ ...places, ...told(video, settings, counts) }),
    );
  } finally {
    weights?.dispose();
  }
}

type Settings = ReturnType<typeof flashVidSettings>;

/** @internal Checks options; of each frame `picked` tokens are kept, and others merged to about `budget`. */
export function flashVidSettings({ patches }: VideoSize, options: Omit<FlashVidOptions, 'attention'>) {
  const { retentionRatio, alpha = 0.7, temporalThreshold = 0.8, segmentThreshold = 0.9, minSegments = 8 } = options;
  const { referenceCounts = false, clusterPicked = referenceCounts, exactBudget = false } = options;
  const budget = Math.min(patches, Math.ceil(share(patches, checkRetentionRatio(retentionRatio))));
  return {
    budget,
    picked: Math.min(budget, Math.ceil(share(budget, checkNumber('alpha', alpha, 0, 1)))),
    temporalThreshold: checkNumber('temporalThreshold', temporalThreshold, -1, 1),
    segmentThreshold: checkNumber('segmentThreshold', segmentThreshold, -1, 1),
    segments: checkInteger('minSegments', minSegments, 1),
    referenceCounts: checkBoolean('referenceCounts', referenceCounts),
    clusterPicked: checkBoolean('clusterPicked', clusterPicked),
    exactBudget: checkBoolean('exactBudget', exactBudget),
  };
}
