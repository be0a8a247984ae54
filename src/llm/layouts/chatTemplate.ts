// Lays out a prompt by the chat template in the model's file.
import { LongVLMError } from '../../base/errors.js';
import { type ChatTemplateForm, endOfThoughts, type TemplatePart } from '../jinja/chatTemplate.js';
import { type SlotTexts, tokensOfParts } from '../jinja/tokens.js';
import type { LanguageModel } from '../model.js';
import type { PromptLayout, PromptPiece } from '../promptLayout.js';

/** The chat template in the model's own file: the video opens the user's first turn. */
export const chatTemplate: PromptLayout = {
  name: 'chat_template',
  system: '',
  firstTurn({ system, question }, model) {
    const form = formFor(model, system);
    return [
      tokens(model, form.before, { system }),
      { video: 'all' },
      tokens(model, form.question, { system, question }),
    ];
  },
  nextTurn({ question, system = '' }, model) {
    const { next } = formFor(model, system);
    if ('problem' in next)
      throw cannotBeUsed(model, ` for a second question: ${oneLine(next.problem)}. Start a new chat for it`);
    return [tokens(model, next as readonly TemplatePart[], { system, question })];
  },
  pastTurn({ system, question, answer, isFirst }, model) {
    const { past } = formFor(model, system);
    if (past === undefined) return undefined;
    const thoughtsEnd = past.dropsThoughts ? answer.lastIndexOf(endOfThoughts) : -1;
    if (!past.differs && thoughtsEnd < 0) return undefined;
    let kept = thoughtsEnd < 0 ? answer : answer.slice(thoughtsEnd + endOfThoughts.length);
    if (thoughtsEnd >= 0 && past.trimsAfterThoughts) kept = kept.trimStart();
    const parts = [
      ...(isFirst ? past.first : past.later),
      { slot: 'answer', trimStart: false, trimEnd: false } as const,
    ];
    return [tokens(model, parts, { system, question, answer: kept })];
  },
};

const tokens = (model: LanguageModel, parts: readonly TemplatePart[], texts: SlotTexts): PromptPiece => ({
  tokens: tokensOfParts(model, parts, texts),
});

/** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for a template that is broken or needs other inputs than a conversation */
function formFor(model: LanguageModel, system: string): ChatTemplateForm {
  if (model.chatTemplate === undefined)
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `${model.path} has no chat template. Name another layout, such as the template vicuna_v1_1.`,
    );
  const form = system === '' ? model.chatTemplate.plain : model.chatTemplate.withSystem;
  if ('before' in form) return form;
  const isOfSystem = system !== '' && 'before' in model.chatTemplate.plain;
  throw cannotBeUsed(
    model,
    isOfSystem ? ` with a system text: ${oneLine(form.problem)}` : `: ${oneLine(form.problem)}`,
  );
}

function cannotBeUsed(model: LanguageModel, cause: string): LongVLMError {
  return new LongVLMError(
    'ERR_LONGVLM_UNSUPPORTED',
    `The chat template in ${model.path} cannot be used${cause}. Name another layout, such as the template vicuna_v1_1.`,
  );
}

/** A template's own words, without line breaks, control characters, and a full stop. */
export function oneLine(problem: string): string {
  return problem
    .replace(/\p{C}+|\s+/gu, ' ')
    .trim()
    .slice(0, 300)
    .replace(/\.$/, '');
}
