export { LongVLMError, type LongVLMErrorCode } from './base/errors.js';
export type { Float32Tensor, Tensor, TensorType } from './base/tensor.js';
export { version } from './base/version.js';
export type { EncodeProgress } from './encode/encodeVideo.js';
export { type CachedVideo, FeaturesCache } from './encode/featuresCache.js';
export {
  type Sampling,
  VideoFeatures,
  type VideoFeaturesInit,
  type VideoPart,
  type VideoSource,
} from './encode/videoFeatures.js';
export { type Dataset, type DatasetEntry, type ReadDatasetOptions, readDataset } from './eval/dataset.js';
export {
  type EvaluateOptions,
  type EvaluationProgress,
  type EvaluationResult,
  evaluate,
  type MeanScore,
} from './eval/evaluate.js';
export { type Prediction, savePredictions } from './eval/predictions.js';
export { scoreAnswer } from './eval/score.js';
export * from './kernels/index.js';
export type { Answer, AskOptions, StopReason } from './llm/answer.js';
export { VideoChat, type VideoChatOptions } from './llm/chat.js';
export { type EvaluateEmbeddingsOptions, evaluateEmbeddings } from './llm/embeddings.js';
export type { LanguageModelDevice } from './llm/llama.js';
export { LanguageModel, type LanguageModelOptions } from './llm/model.js';
export type { SamplingOptions } from './llm/sampling.js';
export { type PromptTemplate, type PromptTemplateName, promptTemplateNames } from './llm/templates.js';
export type { LongVLMParts } from './load/loadModels.js';
export type { LongVLMOptions, Resize } from './load/options.js';
export {
  type ChatOptions,
  type EncodeOptions,
  LongVLM,
  type ProjectOptions,
} from './longvlm.js';
export { Projector, type ProjectorOptions } from './projector/projector.js';
export type { Reduction } from './reduce/reduceTokens.js';
export type { VisionConfig } from './tower/clip/huggingFaceConfig.js';
export { frameGeometry } from './tower/preprocess.js';
export {
  type EncodedSegment,
  type EncodeSegmentOptions,
  VisionEncoder,
  type VisionEncoderOptions,
} from './tower/visionEncoder.js';
export { sampleFrameIndices } from './video/frameIndices.js';
export { type FrameSegment, type ReadSegmentsOptions, readSegments } from './video/frames.js';
export type { FrameGeometry } from './video/geometry.js';
export { type ProbeOptions, probeVideo, type VideoInfo } from './video/probe.js';
