// Size of a conversation's context, and errors when it is full.
import { LongVLMError } from '../base/errors.js';
import type { LanguageModel } from './model.js';
import { tokensOfFirstTurn } from './prompt.js';
import { type PromptTemplate, type PromptTemplateName, resolvePromptTemplate, systemText } from './templates.js';

/** Default limit of an answer in tokens, as in the reference implementation. */
export const defaultMaxTokens = 1024;

/** Number of tokens before the first answer. */
export function promptLength(
  model: LanguageModel,
  videoTokens: number,
  question: string,
  options: { template?: PromptTemplateName | PromptTemplate; system?: string },
): number {
  const layout = resolvePromptTemplate(options.template ?? model.defaultTemplate);
  const { before, after } = tokensOfFirstTurn(model, layout, systemText(layout, options.system), question);
  return before.length + videoTokens + after.length;
}

/** Default size of a chat's context; `fixed` tokens come before the first question. */
export function defaultContextSize(model: LanguageModel, fixed: number): number {
  return Math.min(model.trainContextSize, Math.max(4096, fixed + 256 + defaultMaxTokens));
}

/** The error for a full context: `wanted` tokens do not fit into the remaining `room`, if these are known. */
export function contextFull(contextSize: number, wanted?: number, room?: number): LongVLMError {
  const what = wanted === undefined ? 'The conversation does' : `The prompt's ${wanted} tokens do`;
  const where = room === undefined ? '' : `the ${Math.max(0, room)} free places of `;
  return new LongVLMError(
    'ERR_LONGVLM_CONTEXT_FULL',
    `${what} not fit into ${where}a context of ${contextSize} tokens. Raise contextSize, shorten the question, or start a new chat.`,
  );
}
