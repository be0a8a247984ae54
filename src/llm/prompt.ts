// The tokens around a video. A question is tokenised without special tokens: one that spells out a special token
// cannot end the video or the turn.
import type { Token } from 'node-llama-cpp';
import { chatTokensAfterVideo, chatTokensBeforeVideo, chatTokensOfNextTurn } from './chatTemplate.js';
import type { LanguageModel } from './model.js';
import { isChatTemplate, type PromptTemplate, textAfterVideo, textBeforeVideo, textOfNextTurn } from './templates.js';

/** From the beginning of the sequence to the token that opens the video. */
export function tokensBeforeVideo(model: LanguageModel, template: PromptTemplate, system: string): Token[] {
  if (isChatTemplate(template)) return chatTokensBeforeVideo(model, system);
  const { tokens, tokenize } = model.model;
  return [
    ...(tokens.shouldPrependBosToken && tokens.bos !== null ? [tokens.bos] : []),
    ...tokenize(textBeforeVideo(template, system)),
    ...specialToken(model, template.videoStart),
  ];
}

/** From the token that closes the video to where the first answer begins. */
export function tokensAfterVideo(model: LanguageModel, template: PromptTemplate, question: string): Token[] {
  if (isChatTemplate(template)) return chatTokensAfterVideo(model, question);
  return [...specialToken(model, template.videoEnd), ...model.model.tokenize(textAfterVideo(template, question))];
}

/** From the end of the answer before to where the next one begins. */
export function tokensOfNextTurn(model: LanguageModel, template: PromptTemplate, question: string): Token[] {
  if (isChatTemplate(template)) return chatTokensOfNextTurn(model, question);
  const { tokens, tokenize } = model.model;
  return [...(tokens.eos !== null ? [tokens.eos] : []), ...tokenize(textOfNextTurn(template, question))];
}

function specialToken(model: LanguageModel, text: string): Token[] {
  const token = model.specialToken(text);
  return token === undefined ? [] : [token as Token];
}
