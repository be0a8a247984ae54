import { overlay, type SamplingRequest } from '../encode/sampling.js';
import type { AskOptions } from '../llm/answer.js';
import type { ChatOptions } from '../longvlm.js';
import type { ItemOptions } from './item.js';

/** The prompt of a question, without the video and its context. */
export type PromptSettings = Pick<ChatOptions, 'part' | 'timestamps' | 'template' | 'system'>;

/** The options of a question, by whom they are for. */
export type ItemSettings = {
  readonly sampling: SamplingRequest;
  readonly prompt: PromptSettings;
  readonly contextSize: number | undefined;
  readonly ask: AskOptions;
};

export function settingsOf(options: ItemOptions = {}): ItemSettings {
  const { part, timestamps, template, system, contextSize, ...others } = options;
  const { maxTokens, temperature, topK, topP, minP, seed, stop, ...sampling } = others;
  const prompt = { part, timestamps, template: template as PromptSettings['template'], system };
  return {
    sampling,
    prompt: given(prompt),
    contextSize,
    ask: given({ maxTokens, temperature, topK, topP, minP, seed, stop }),
  };
}

/** Options of all questions, in place of which an item's own stand. */
export function withOwn(common: ItemOptions | undefined, own: ItemOptions | undefined): ItemOptions {
  const [before, after] = [settingsOf(common), settingsOf(own)];
  const contextSize = after.contextSize ?? before.contextSize;
  const sampling = overlay(before.sampling, after.sampling) as ItemOptions;
  const rest = { ...before.prompt, ...after.prompt, ...before.ask, ...after.ask } as ItemOptions;
  return { ...sampling, ...rest, ...(contextSize !== undefined && { contextSize }) };
}

/** What is not undefined. */
function given<T extends object>(values: T): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}
