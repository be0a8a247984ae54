export { LongVLMError, type LongVLMErrorCode } from './base/errors.js';
export type { OnProgress, Progress } from './base/progress.js';
export type { Resize } from './base/resize.js';
export type { Float32Tensor, LooseTensor, OnnxTensor, Tensor, TensorInput, TensorType } from './base/tensor.js';
export { version } from './base/version.js';
export type { RunPlaces, VideoRun, VideoRuns } from './base/videoRun.js';
export { type AskItem, type AskManyOptions, type AskResult, askMany } from './batch/askMany.js';
export { type EmbeddedRunnerOptions, embeddedRunner } from './batch/embeddedRunner.js';
export type {
  BatchAnswer,
  BatchCompletion,
  BatchFailure,
  BatchItem,
  BatchResult,
  BatchRunner,
  ItemContext,
  ItemOptions,
  ItemRunner,
  QuestionItem,
  RequestItem,
  ServiceResponse,
} from './batch/item.js';
export { type BatchOptions, type BatchProgress, runBatch } from './batch/runBatch.js';
export type { EightBits } from './cache/eightBitMatrices.js';
export type { CachedFile } from './cache/folderCache.js';
export {
  type Attribute,
  type Dimension,
  GraphBuilder,
  type GraphBuilderOptions,
  microsoft,
  type OnnxModel,
} from './compute/graphBuilder.js';
export {
  type CachedVideo,
  FeaturesCache,
  type FeaturesRequest,
  type FeaturesStoreOptions,
} from './encode/featuresCache.js';
export type { FeaturesJson } from './encode/plainFeatures.js';
export type { TokenGrid } from './encode/runs.js';
export type { Sampling, SamplingRequest, SettledSampling } from './encode/sampling.js';
export { type EncodeOptions, VideoEncoder, type VideoEncoderOptions } from './encode/videoEncoder.js';
export { VideoFeatures, type VideoFeaturesInit, type VideoPart, type VideoSource } from './encode/videoFeatures.js';
export {
  type EncodedSegment,
  type EncodeSegmentOptions,
  VisionEncoder,
  type VisionEncoderOptions,
} from './encode/visionEncoder.js';
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
export type { GgufFile, GgufValue } from './files/gguf.js';
export { type AnyWeightFile, openWeights } from './files/openWeights.js';
export type { PytorchFile } from './files/pytorch.js';
export { requireTensor } from './files/requireTensor.js';
export type { SafetensorsFile } from './files/safetensors.js';
export type { ShardedFile } from './files/sharded.js';
export type { ElementType, TensorLocation, WeightFile } from './files/tensorFile.js';
export {
  type InspectedFrame,
  type InspectedGrid,
  type InspectedMethod,
  type InspectedSegment,
  type InspectedTokens,
  type InspectedVideo,
  type Inspection,
  type Owners,
  type PromptSpan,
  readOwners,
} from './inspect/inspection.js';
export { type InspectOptions, inspectVideo } from './inspect/inspectVideo.js';
export { type PlanOptions, planTokens } from './inspect/plan.js';
export { inspectionFile } from './inspect/report.js';
export type { PlannedMethod, PlannedTokens, TokenPlan } from './inspect/tokenPlan.js';
export * from './kernels/index.js';
export type { Answer, AskOptions, StopReason } from './llm/answer.js';
export { VideoChat } from './llm/chat.js';
export type { VideoChatOptions } from './llm/chatOptions.js';
export { type EvaluateEmbeddingsOptions, evaluateEmbeddings, type LlamaSequence } from './llm/embeddings.js';
export type { VicunaTemplate } from './llm/layouts/vicuna.js';
export type { LanguageModelDevice } from './llm/llama.js';
export { LanguageModel, type LanguageModelOptions } from './llm/model.js';
export type { PromptFirstTurn, PromptLayout, PromptPiece, PromptVideo } from './llm/promptLayout.js';
export type { SamplingOptions } from './llm/sampling.js';
export {
  type PromptTemplate,
  type PromptTemplateName,
  promptTemplateNames,
  registerPromptTemplate,
} from './llm/templates.js';
export { describeModels, type ModelsDescription, type PresetDescription } from './load/describeModels.js';
export { loadVideoEncoder } from './load/loadModels.js';
export type { Gpu, LoadVideoEncoderOptions, LongVLMOptions, ModelNames } from './load/options.js';
export { type ProjectedFrames, type ProjectFramesOptions, projectFrames } from './load/projectFrames.js';
export { type ChatOptions, LongVLM, type ProjectOptions, type PromptOptions } from './longvlm.js';
export { catalogue, type KnownModel } from './models/catalogue.js';
export type { HubProgress } from './models/hub/hub.js';
export type { ModelUse } from './models/preset.js';
export type { ProjectorFamily, ProjectorSource, TrainedStates } from './projector/family.js';
export { Projector, type ProjectorCallOptions, type ProjectorOptions } from './projector/projector.js';
export { registerProjector } from './projector/registry.js';
export { mergeBySchedule } from './reduce/merge.js';
export type { ReductionOptions } from './reduce/options.js';
export {
  type ReducedTokens,
  type ReducedVideoTokens,
  type Reducer,
  type ReducerKind,
  type ReducerOptions,
  reducerId,
  type SegmentShape,
  type VideoReducer,
  type VideoReduction,
} from './reduce/reducer.js';
export { type Reduction, reductionNames, registerReducer } from './reduce/reducers.js';
export type { Service } from './service/service.js';
export type { ServiceOptions } from './service/settings.js';
export { startService } from './service/startService.js';
export { registerTower } from './tower/families.js';
export { frameGeometry, type TowerGeometry } from './tower/pixels.js';
export type { VisionPrecision } from './tower/precision.js';
export type {
  OpenTowerOptions,
  PatchStates,
  PixelNormalization,
  PixelRules,
  Projection,
  TowerFamily,
  TowerGraphOptions,
  TowerShape,
  TowerSource,
  VisionConfig,
} from './tower/source.js';
export { sampleFrameIndices } from './video/frameIndices.js';
export { type FrameSegment, type ReadSegmentsOptions, readSegments } from './video/frames.js';
export type { FrameGeometry } from './video/geometry.js';
export type { VideoLimits, VideoLimits as FetchLimits } from './video/limits.js';
export { type OpenVideoOptions, openVideo, type Video } from './video/openVideo.js';
export type { ReadPlan } from './video/plan.js';
export { type ProbeOptions, probeVideo, type VideoInfo } from './video/probe.js';
export { type FrameSelection, type SelectFramesOptions, selectFrames } from './video/selection.js';
export type { PictureInput, VideoInput } from './video/videoInput.js';
