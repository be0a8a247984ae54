export type { EncodeProgress } from './encodeVideo.js';
export { LongVLMError, type LongVLMErrorCode } from './errors.js';
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
export { type Sampling, VideoFeatures, type VideoFeaturesInit, type VideoPart, type VideoSource } from './features.js';
export { type CachedVideo, FeaturesCache } from './featuresCache.js';
export * from './kernels/index.js';
export type { Answer, AskOptions, StopReason } from './llm/answer.js';
export { VideoChat, type VideoChatOptions } from './llm/chat.js';
export { type EvaluateEmbeddingsOptions, evaluateEmbeddings } from './llm/embeddings.js';
export type { LanguageModelDevice } from './llm/llama.js';
export { LanguageModel, type LanguageModelOptions } from './llm/model.js';
export type { SamplingOptions } from './llm/sampling.js';
export { type PromptTemplate, type PromptTemplateName, promptTemplateNames } from './llm/templates.js';
export {
  type ChatOptions,
  type EncodeOptions,
  LongVLM,
  type ProjectOptions,
} from './longvlm.js';
export type { LongVLMOptions, Resize } from './longvlmOptions.js';
export type { LongVLMParts } from './longvlmParts.js';
export { Projector, type ProjectorOptions } from './projector/projector.js';
export type { Float32Tensor, Tensor, TensorType } from './tensor.js';
export { version } from './version.js';
export { sampleFrameIndices } from './video/frameIndices.js';
export { type FrameSegment, type ReadSegmentsOptions, readSegments } from './video/frames.js';
export type { FrameGeometry } from './video/geometry.js';
export { type ProbeOptions, probeVideo, type VideoInfo } from './video/probe.js';
export type { VisionConfig } from './vision/config.js';
export {
  type EncodedSegment,
  type EncodeSegmentOptions,
  VisionEncoder,
  type VisionEncoderOptions,
} from './vision/encoder.js';
export { frameGeometry } from './vision/preprocess.js';
export type { Reduction } from './vision/reduce.js';
