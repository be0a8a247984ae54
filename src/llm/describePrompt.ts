// What a language model is given before its first answer, for people.
import type { Token } from 'node-llama-cpp';
import { checkLengths, type PromptTexts, promptTokens } from './contextSize.js';
import type { LanguageModel } from './model.js';
import { tokensOfFirstTurn } from './prompt.js';
import { resolvePromptTemplate, systemText } from './templates.js';

/** A part of a prompt: text and how many tokens it has, or the rows [from, to) of the video's tokens. */
export type PromptDescription =
  | { readonly kind: 'text'; readonly text: string; readonly tokens: number }
  | { readonly kind: 'video'; readonly from: number; readonly to: number };

/**
 * The parts of a first turn in order, with special tokens as their text.
 * @throws LongVLMError `ERR_LONGVLM_CONTEXT_FULL` for texts that are far too long, `ERR_LONGVLM_UNSUPPORTED` for a layout that
 *   cannot be used
 */
export function describePrompt(
  model: LanguageModel,
  videoTokens: number,
  question: string,
  options: PromptTexts,
): PromptDescription[] {
  const layout = resolvePromptTemplate(options.template ?? model.defaultTemplate);
  const system = systemText(layout, options.system);
  checkLengths(model, model.trainContextSize, question, system);
  const turn = tokensOfFirstTurn(model, layout, system, question, promptTokens(videoTokens, options));
  const textOf = (tokens: Token[]): PromptDescription[] =>
    tokens.length === 0 ? [] : [{ kind: 'text', text: model.model.detokenize(tokens, true), tokens: tokens.length }];
  return [
    ...textOf(turn.before),
    ...turn.video.flatMap((part) => ('text' in part ? textOf(part.text) : [{ kind: 'video' as const, ...part }])),
    ...textOf(turn.after),
  ];
}
