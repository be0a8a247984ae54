// Options of a chat.
import { readOptions } from '../base/options.js';
import type { Tensor, TensorInput } from '../base/tensor.js';
import { checkBoolean, checkInteger, checkNumber, checkOneOf, checkSignal, checkTensor } from '../base/validate.js';
import type { VideoRuns } from '../base/videoRun.js';
import { checkModel, type LanguageModel } from './model.js';
import type { PromptLayout } from './promptLayout.js';
import { type PromptTokens, unknownRuns } from './promptVideo.js';
import { defaultTemperature } from './sampling.js';
import { type PromptTemplate, type PromptTemplateName, resolvePromptTemplate, systemText } from './templates.js';
import { checkRuns } from './videoRuns.js';

/** Options of {@link VideoChat.create}. */
export type VideoChatOptions = {
  /** Layout of the conversation. Defaults to {@link LanguageModel.defaultTemplate}. */
  template?: PromptTemplateName | PromptTemplate;
  /** System text, the first text of the conversation; may be empty. Defaults to the template's own text. */
  system?: string;
  /** Default temperature of answers. Defaults to `0.2`. */
  temperature?: number;
  /**
   * Size of the context in tokens: system text, video, questions and answers together. Defaults to 4096, or more if the
   * video, a question of 256 tokens and an answer of 1024 tokens need more; but at most the size that the model was trained
   * for.
   */
  contextSize?: number;
  /** Which part of the video its tokens stand for, in their order. Defaults to one run, of which nothing is known. */
  runs?: VideoRuns;
  /**
   * Whether the prompt says the time of each run, as `[MM:SS]` before it unless the layout has its own way. Layouts of models
   * that were trained with times have them always. Defaults to `false`.
   */
  timestamps?: boolean;
  /**
   * How the tokens of a run attend to each other: to those before, or, as Gemma 3 has it, to all of their run, which is then
   * evaluated at once. {@link LongVLM} gives what the vision tower's model was trained with. Defaults to `causal`.
   */
  attention?: 'causal' | 'full';
  signal?: AbortSignal | null;
};

/** The options of a chat, read once. */
type ReadChatOptions = {
  /** As it was read. */
  readonly video: Tensor;
  readonly layout: PromptLayout;
  readonly system: string;
  readonly temperature: number;
  readonly contextSize: number | undefined;
  readonly tokens: PromptTokens;
  readonly attention: 'causal' | 'full';
  readonly signal: AbortSignal | undefined;
};

/** @throws TypeError or RangeError for a bad option */
export function readChatOptions(model: LanguageModel, video: TensorInput, options: VideoChatOptions): ReadChatOptions {
  checkModel(model);
  const embeddings = checkTensor('video', video, ['tokens', 'width']);
  const given = readOptions(options, [
    ...(['template', 'system', 'temperature', 'contextSize'] as const),
    ...(['runs', 'timestamps', 'attention', 'signal'] as const),
  ]);
  const layout = resolvePromptTemplate(given.template ?? model.defaultTemplate);
  const system = systemText(layout, given.system);
  if (given.contextSize !== undefined) checkInteger('contextSize', given.contextSize, 16);
  const temperature = checkNumber('temperature', given.temperature ?? defaultTemperature, 0);
  const timestamps = checkBoolean('timestamps', given.timestamps ?? false);
  const attention = checkOneOf('attention', given.attention ?? 'causal', ['causal', 'full']);
  const count = embeddings.dims[0]!;
  const runs = given.runs === undefined ? unknownRuns(count) : checkRuns(given.runs, count);
  const signal = checkSignal(given.signal);
  const tokens = { video: runs, timestamps, count };
  const read = { layout, system, temperature, contextSize: given.contextSize, tokens, attention, signal };
  return { video: embeddings, ...read };
}
