// A turn of a conversation that took place elsewhere, and goes on here.
import type { Token } from 'node-llama-cpp';
import type { LanguageModel } from './model.js';
import { tokensOfFirstTurn, tokensOfNextTurn, tokensOfPastTurn } from './prompt.js';
import type { PromptLayout } from './promptLayout.js';
import type { PromptTokens } from './promptVideo.js';

/** From the video or the end of the answer before to the end of its own answer, as it is shown where another question follows. */
export function tokensOfGivenTurn(
  model: LanguageModel,
  layout: PromptLayout,
  turn: Parameters<NonNullable<PromptLayout['pastTurn']>>[0],
  video: PromptTokens,
): Token[] {
  const past = tokensOfPastTurn(model, layout, turn);
  if (past !== undefined) return past;
  const { system, question, answer, isFirst } = turn;
  const asked = isFirst
    ? tokensOfFirstTurn(model, layout, system, question, video).after
    : tokensOfNextTurn(model, layout, question, system);
  // Behind a word, as of `ASSISTANT:`, models begin with a space, which an answer is told without.
  const space = answer !== '' && /\S$/.test(model.model.detokenize(asked.slice(-1))) ? ' ' : '';
  return [...asked, ...(model.tokenize(space + answer) as Token[])];
}
