// Lays out a prompt by the chat template in the model's file, through node-llama-cpp's chat wrappers.
import type { ChatHistoryItem, LlamaText, Token } from 'node-llama-cpp';
import { LongVLMError, messageOf } from '../../base/errors.js';
import type { LanguageModel } from '../model.js';
import type { PromptLayout } from '../promptLayout.js';

// Placeholder for the video or an answer while a conversation is rendered. Private-use characters do not occur in normal text.
const mark = '\uE000\uE001\uE000';

/** The chat template in the model's own file: the video opens the user's first turn. */
export const chatTemplate: PromptLayout = {
  name: 'chat_template',
  system: '',
  firstTurn({ system, question }, model) {
    const [before] = aroundMark(model, [...systemTurn(system), userTurn(`${mark}\n`)]);
    const [, after] = aroundMark(model, [userTurn(`${mark}\n${question}`)]);
    return [{ tokens: before }, { video: 'all' }, { tokens: after }];
  },
  nextTurn({ question }, model) {
    const turns: ChatHistoryItem[] = [userTurn('?'), { type: 'model', response: [mark] }, userTurn(question)];
    const [, after] = aroundMark(model, turns);
    return [{ tokens: after }];
  },
};

/** The tokens of a conversation before and after the mark, up to the start of the model's next answer. */
function aroundMark(model: LanguageModel, turns: readonly ChatHistoryItem[]): [Token[], Token[]] {
  const [before, after] = split(model, render(model, turns));
  const { tokenizer } = model.model;
  return [before.tokenize(tokenizer), after.tokenize(tokenizer)];
}

const systemTurn = (text: string): ChatHistoryItem[] => (text === '' ? [] : [{ type: 'system', text }]);
const userTurn = (text: string): ChatHistoryItem => ({ type: 'user', text });

/**
 * Renders a conversation up to the start of the model's next answer.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for a template that is broken or needs other inputs than a conversation
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

/** Extracts the reason from node-llama-cpp's error about a template, as one line. */
function reasonIn(message: string): string {
  const [line = ''] = message.replace(/^The provided Jinja template [^:]*: (\w*Error: )?/, '').split('\n');
  return line.replace(/\.? Inspect the Jinja template .*$/, '');
}

/** Splits a rendered text at the mark. */
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
    const same = (text: string) => (special ? new SpecialTokensText(text) : text);
    before.push(same(content.slice(0, at)));
    after.push(same(content.slice(at + mark.length)));
  }
  return [newText(before), newText(after)];
}
