// A prompt laid out by the chat template in the model's own file, through node-llama-cpp's chat wrappers.
import type { ChatHistoryItem, LlamaText, Token } from 'node-llama-cpp';
import { LongVLMError, messageOf } from '../base/errors.js';
import type { LanguageModel } from './model.js';

// Stands in for the video, or for an answer, while a conversation is rendered; characters of private use, in nobody's text.
const mark = '\uE000\uE001\uE000';

/** From the beginning of the sequence to the video, which opens the user's first turn. */
export function chatTokensBeforeVideo(model: LanguageModel, system: string): Token[] {
  const { tokens } = model.model;
  const [before] = split(model, render(model, [...systemTurn(system), userTurn(`${mark}\n`)]));
  const found = before.tokenize(model.model.tokenizer);
  return tokens.shouldPrependBosToken && tokens.bos !== null && found[0] !== tokens.bos
    ? [tokens.bos, ...found]
    : found;
}

/** From the video to where the first answer begins. */
export function chatTokensAfterVideo(model: LanguageModel, question: string): Token[] {
  const [, after] = split(model, render(model, [userTurn(`${mark}\n${question}`)]));
  return after.tokenize(model.model.tokenizer);
}

/** From the end of the answer before to where the next one begins. */
export function chatTokensOfNextTurn(model: LanguageModel, question: string): Token[] {
  const turns: ChatHistoryItem[] = [userTurn('?'), { type: 'model', response: [mark] }, userTurn(question)];
  const [, after] = split(model, render(model, turns));
  return after.tokenize(model.model.tokenizer);
}

const systemTurn = (text: string): ChatHistoryItem[] => (text === '' ? [] : [{ type: 'system', text }]);
const userTurn = (text: string): ChatHistoryItem => ({ type: 'user', text });

/**
 * A conversation, up to where the model's next answer begins.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for a template that is broken or asks for more than a conversation
 */
function render(model: LanguageModel, turns: readonly ChatHistoryItem[]): LlamaText {
  const chatHistory: ChatHistoryItem[] = [...turns, { type: 'model', response: [''] }];
  try {
    return model.chatWrapper.generateContextState({ chatHistory }).contextText;
  } catch (error) {
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `The chat template in ${model.path} cannot be used: ${reasonIn(messageOf(error))}. Name another layout, such as the template vicuna_v1_1.`,
      { cause: error },
    );
  }
}

/** The reason within what node-llama-cpp says of a template, on one line. */
function reasonIn(message: string): string {
  const [line = ''] = message.replace(/^The provided Jinja template [^:]*: (\w*Error: )?/, '').split('\n');
  return line.replace(/\.? Inspect the Jinja template .*$/, '');
}

/** What stands before the mark and behind it. */
function split(model: LanguageModel, text: LlamaText): [LlamaText, LlamaText] {
  const { LlamaText: newText, SpecialTokensText } = model.nodeLlamaCpp;
  const [before, after]: [LlamaText['values'][number][], LlamaText['values'][number][]] = [[], []];
  let found = false;
  for (const value of text.values) {
    const special = value instanceof SpecialTokensText;
    const content = special ? value.value : typeof value === 'string' ? value : '';
    const at = found ? -1 : content.indexOf(mark);
    if (at < 0) {
      (found ? after : before).push(value);
      continue;
    }
    found = true;
    const part = (part: string) => (special ? new SpecialTokensText(part) : part);
    before.push(part(content.slice(0, at)));
    after.push(part(content.slice(at + mark.length)));
  }
  return [newText(before), newText(after)];
}
