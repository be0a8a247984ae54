/**
 * `longvlm/kernels`: token merging for your own pipeline.
 *
 * @packageDocumentation
 */
export { LongVLMError, type LongVLMErrorCode } from '../base/errors.js';
export type { Float32Tensor, LooseTensor, OnnxTensor, Tensor, TensorInput, TensorType } from '../base/tensor.js';
export { type AimOptions, aim } from './aim.js';
export {
  type AnchoredDeviceTokens,
  type AnchoredTokens,
  type AssignToAnchorsOptions,
  assignToAnchors,
} from './assignToAnchors.js';
export { type BipartiteSoftMatchingOptions, bipartiteSoftMatching } from './bipartiteSoftMatching.js';
export { concurrency } from './concurrency.js';
export { type CudaDevice, cudaDevices, type Device } from './cuda.js';
export {
  type DensityClusters,
  type DensityPeaksOptions,
  type DeviceDensityClusters,
  densityPeaks,
} from './densityPeaks.js';
export {
  DeviceBuffer,
  type DeviceBufferOptions,
  type DeviceTensorType,
  type HostTensor,
  type TransferOptions,
} from './deviceBuffer.js';
export type { ReducedDeviceVideo } from './deviceReduction.js';
export { type EvsOptions, evs } from './evs.js';
export { type FastVidOptions, fastVid } from './fastVid.js';
export { type FlashVidOptions, flashVid } from './flashVid.js';
export {
  DeviceMatching,
  type DeviceMergeOptions,
  Matching,
  type MergeModeOptions,
  type MergeOptions,
  type UnmergeOptions,
} from './matching.js';
export { mergeSchedule } from './mergeSchedule.js';
export {
  type MergeCallOptions,
  type MergeDeviceTokensOptions,
  type MergedDeviceTokens,
  type MergedTokens,
  type MergeTokensOptions,
  type MergeTokensSyncOptions,
  mergeTokens,
  mergeTokensSync,
  type TokenMergerOptions,
} from './mergeTokens.js';
export { type RandomOptions, random, type UniformOptions, uniform } from './pickTokens.js';
export { type PoolClsTokensOptions, poolClsTokens } from './poolClsTokens.js';
export type { ReducedVideo, ReducerCallOptions, ReductionReport } from './reduction.js';
export { type FrameSegments, type SegmentFramesOptions, segmentFrames } from './segmentFrames.js';
export { type SelectDiverseOnDeviceOptions, type SelectDiverseOptions, selectDiverse } from './selectDiverse.js';
export { selectTopK } from './selectTopK.js';
export {
  type DeviceTemporalSimilarities,
  type TemporalSimilarities,
  type TemporalSimilarityOptions,
  temporalSimilarity,
} from './temporalSimilarity.js';
export { TokenMerger, type TokenMergerCallOptions } from './tokenMerger.js';
export { type TokenMetricOptions, tokenMetric } from './tokenMetric.js';
export { unmergeTokens } from './unmergeTokens.js';
export { type VCastOptions, vCast } from './vCast.js';
export { type VidCom2Options, vidCom2 } from './vidCom2.js';
