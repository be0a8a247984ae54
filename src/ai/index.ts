/**
 * `longvlm/ai`: a loaded {@link LongVLM} as a language model of Vercel's AI SDK, in the same process.
 *
 * @packageDocumentation
 */
export type { VideoOptions } from './call.js';
export { createLongVLM, type LongVLMLanguageModel, type LongVLMModelOptions } from './languageModel.js';
export type {
  CallOptions,
  CallWarning,
  Finish,
  FinishReason,
  GenerateResult,
  Json,
  MessagePart,
  PromptMessage,
  ProviderMetadata,
  ResponseMetadata,
  StreamPart,
  Usage,
} from './types.js';
