/**
 * `longvlm/kernels`: token merging for anyone's own pipeline.
 *
 * @packageDocumentation
 */
export { LongVLMError, type LongVLMErrorCode } from '../errors.js';
export type { Float32Tensor, Tensor, TensorType } from '../tensor.js';
export {
  type BipartiteSoftMatchingOptions,
  bipartiteSoftMatching,
  Matching,
  type MergeOptions,
} from './bipartiteSoftMatching.js';
export { mergeSchedule } from './mergeSchedule.js';
export {
  type MergedTokens,
  type MergeTokensOptions,
  type MergeTokensSyncOptions,
  mergeTokens,
  mergeTokensSync,
} from './mergeTokens.js';
export { type PoolClsTokensOptions, poolClsTokens } from './poolClsTokens.js';
