// Size of a conversation's context, and errors when it is full.
import { LongVLMError } from '../base/errors.js';
import type { LanguageModel } from './model.js';
import { tokensOfFirstTurn } from './prompt.js';
import { type PromptTemplate, type PromptTemplateName, resolvePromptTemplate, systemText } from './templates.js';

/** Default limit of an answer in tokens, as in the reference implementation. */
export const defaultMaxTokens = 1024;

/** What is in a prompt beside the question. */
type PromptTexts = { template?: PromptTemplateName | PromptTemplate; system?: string };

/** Number of tokens before the first answer. */
function promptLength(model: LanguageModel, videoTokens: number, question: string, options: PromptTexts): number {
  const layout = resolvePromptTemplate(options.template ?? model.defaultTemplate);
  const { before, after } = tokensOfFirstTurn(model, layout, systemText(layout, options.system), question);
  return before.length + videoTokens + after.length;
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

/** Default size of a chat's context; `fixed` tokens come before the first question. */
export function defaultContextSize(model: LanguageModel, fixed: number): number {
  return Math.min(model.trainContextSize, Math.max(4096, fixed + 256 + defaultMaxTokens));
}

/** The error for a full context: `wanted` tokens do not fit into the remaining `room`, if these are known. */
export function contextFull(contextSize: number, wanted?: number | string, room?: number): LongVLMError {
  const what = wanted === undefined ? 'The conversation does' : `The prompt's ${wanted} tokens do`;
  const where = room === undefined ? '' : `the ${Math.max(0, room)} free places of `;
  return new LongVLMError(
    'ERR_LONGVLM_CONTEXT_FULL',
    `${what} not fit into ${where}a context of ${contextSize} tokens. Raise contextSize, shorten the question, or start a new chat.`,
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
  return Math.min(most, promptLength(model, videoTokens, question, options) + maxTokens + 1);
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
  const needed = promptLength(model, videoTokens, question, options);
  if (needed + 1 > contextSize) throw contextFull(contextSize, needed, contextSize - 1);
}
