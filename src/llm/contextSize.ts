// Size of a conversation's context, and errors when it is full.
import { LongVLMError } from '../base/errors.js';
import type { VideoRuns } from '../base/videoRun.js';
import { spanOfBlock } from './evaluateVideo.js';
import type { LanguageModel } from './model.js';
import { textBeforeQuestion, tokensOfFirstTurn } from './prompt.js';
import { type PromptTokens, unknownRuns } from './promptVideo.js';
import { type PromptTemplate, type PromptTemplateName, resolvePromptTemplate, systemText } from './templates.js';

/** Default limit of an answer in tokens, as in the reference implementation. */
export const defaultMaxTokens = 1024;

/** What is in a prompt beside the question. */
export type PromptTexts = {
  template?: PromptTemplateName | PromptTemplate;
  system?: string;
  /** The runs of the video's tokens. Defaults to one run. */
  runs?: VideoRuns;
  /** Whether the text says the time of each run. Defaults to `false`. */
  timestamps?: boolean;
};

/** The tokens of a video as a prompt takes them. */
export function promptTokens(count: number, { runs, timestamps = false }: PromptTexts): PromptTokens {
  return { video: runs ?? unknownRuns(count), timestamps, count };
}

/**
 * Places of a context that a video takes: one for each token, or, where the language model has several positions for each, as
 * many as its runs are long and wide, if that is more.
 */
export function placesOfVideo({ axes }: LanguageModel, tokens: PromptTokens): number {
  return axes === 1 ? tokens.count : Math.max(tokens.count, leastPlaces(tokens));
}

/** Places that the runs take however few of their tokens are kept. */
function leastPlaces({ video, count, timestamps }: PromptTokens): number {
  const block = timestamps ? undefined : spanOfBlock(video);
  if (block !== undefined) return block;
  return video.runs.reduce((sum, { at, tokens }) => sum + (at ? Math.max(at.rows, at.columns) - tokens : 0), count);
}

/** Number of text tokens before the first answer. */
function textLength(model: LanguageModel, videoTokens: number, question: string, options: PromptTexts): number {
  const layout = resolvePromptTemplate(options.template ?? model.defaultTemplate);
  const system = systemText(layout, options.system);
  const turn = tokensOfFirstTurn(model, layout, system, question, promptTokens(videoTokens, options));
  return textBeforeQuestion(turn) + turn.after.length;
}

const pieceLength = 4096;

/**
 * Whether one of some texts has far more tokens than a context has places. llama.cpp tokenises on the main thread, a megabyte in a second:
 * here no more of it is than is needed to tell, in pieces. Cut in pieces, a text may have more tokens, but hardly twice as many.
 */
function areFarTooLong(model: LanguageModel, contextSize: number, ...texts: readonly unknown[]): boolean {
  return texts.some((text) => typeof text === 'string' && isFarTooLong(model, contextSize, text));
}

function isFarTooLong(model: LanguageModel, contextSize: number, text: string): boolean {
  if (text.length <= 4 * contextSize) return false;
  let tokens = 0;
  for (let start = 0; start < text.length && tokens <= 2 * contextSize; start += pieceLength)
    tokens += model.tokenize(text.slice(start, start + pieceLength)).length;
  return tokens > 2 * contextSize;
}

/** Places that are left for an answer where a budget is proposed. */
const shortAnswer = 256;

/** Words for the number of tokens of video that would fit beside `text` other ones; none where no number would. */
export function fittingBudget(
  { axes }: LanguageModel,
  contextSize: number,
  text: number,
  tokens: PromptTokens,
): string {
  const budget = contextSize - 1 - text - shortAnswer;
  const least = axes === 1 ? 0 : leastPlaces(tokens);
  return budget < Math.max(tokens.video.runs.length, least)
    ? ''
    : `, give the video at most ${budget} tokens (tokens: ${budget}, --tokens ${budget})`;
}

/**
 * Size of a chat's context, with room for a question and its answer unless `wanted` says it.
 * @param text tokens of text before the first question
 * @throws LongVLMError `ERR_LONGVLM_CONTEXT_FULL` if the video does not fit
 */
export function contextSizeOf(
  model: LanguageModel,
  wanted: number | undefined,
  text: number,
  video: PromptTokens,
): number {
  const { count } = video;
  const places = placesOfVideo(model, video);
  const usual = Math.max(4096, text + places + 256 + defaultMaxTokens);
  const contextSize = wanted ?? Math.min(model.trainContextSize, usual);
  if (text + places + 1 < contextSize) return contextSize;
  throw new LongVLMError(
    'ERR_LONGVLM_CONTEXT_FULL',
    `The video's ${count} tokens${places > count ? `, which take ${places} places,` : ''} and ${text} of the prompt do not fit into a context of ${contextSize} tokens ` +
      `(the model was trained for ${model.trainContextSize}). Raise contextSize${fittingBudget(model, contextSize, text, video)}, or use fewer segments or tokens per segment.`,
  );
}

/** The error for a full context: `wanted` tokens do not fit into the remaining `room`, if these are known. */
export function contextFull(contextSize: number, wanted?: number | string, room?: number, budget = ''): LongVLMError {
  const what = wanted === undefined ? 'The conversation does' : `The prompt's ${wanted} tokens do`;
  const where = room === undefined ? '' : `the ${Math.max(0, room)} free places of `;
  return new LongVLMError(
    'ERR_LONGVLM_CONTEXT_FULL',
    `${what} not fit into ${where}a context of ${contextSize} tokens. Raise contextSize, shorten the question${budget}, or start a new chat.`,
  );
}

/** @throws LongVLMError `ERR_LONGVLM_CONTEXT_FULL` for texts with far more tokens than a context has places */
export function checkLengths(model: LanguageModel, contextSize: number, ...texts: readonly unknown[]): void {
  if (areFarTooLong(model, contextSize, ...texts))
    throw contextFull(contextSize, `more than ${2 * contextSize}`, contextSize - 1);
}

/** Size of a context for a prompt and an answer, at most that which the model was trained for. */
export function neededContextSize(
  model: LanguageModel,
  videoTokens: number,
  question: string,
  maxTokens: number,
  options: PromptTexts,
): number {
  const most = model.trainContextSize;
  if (areFarTooLong(model, most, question, options.system)) return most;
  const places = placesOfVideo(model, promptTokens(videoTokens, options));
  return Math.min(most, places + textLength(model, videoTokens, question, options) + maxTokens + 1);
}

/** @throws LongVLMError `ERR_LONGVLM_CONTEXT_FULL` when a prompt does not fit */
export function checkPrompt(
  model: LanguageModel,
  videoTokens: number,
  question: string,
  contextSize: number,
  options: PromptTexts,
): void {
  checkLengths(model, contextSize, question, options.system);
  const text = textLength(model, videoTokens, question, options);
  const tokens = promptTokens(videoTokens, options);
  const needed = placesOfVideo(model, tokens) + text;
  if (needed + 1 > contextSize)
    throw contextFull(contextSize, needed, contextSize - 1, fittingBudget(model, contextSize, text, tokens));
}
