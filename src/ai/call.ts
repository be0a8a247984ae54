// What a call asks for, in the words of the library.

import { readOptions } from '../base/options.js';
import { checkObject, checkSignal } from '../base/validate.js';
import { type AskOptions, readAskOptions } from '../llm/answer.js';
import { anyObject, readAnswerSchema, UnusableSchema } from '../llm/answerSchema.js';
import type { GivenConversation } from '../llm/givenConversation.js';
import type { ChatOptions } from '../longvlm.js';
import { type Media, readPrompt, unsupported } from './prompt.js';
import type { CallOptions, CallWarning } from './types.js';

/** The options under `providerOptions.longvlm`, and the defaults of a model. */
export type VideoOptions = Pick<ChatOptions, 'sampling' | 'part' | 'timestamps' | 'template' | 'contextSize'>;

/** A call, read. */
export type Call = {
  readonly conversation: GivenConversation<Media>;
  readonly chat: VideoOptions & Pick<ChatOptions, 'system' | 'signal'>;
  readonly ask: AskOptions;
  readonly warnings: CallWarning[];
};

export const videoOptionNames = ['sampling', 'part', 'timestamps', 'template', 'contextSize'] as const;

/** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED`; TypeError or RangeError for a wrong option */
export function readCall(options: CallOptions, defaults: VideoOptions): Call {
  const conversation = readPrompt(options.prompt);
  const own = readOptions((options.providerOptions?.longvlm ?? {}) as VideoOptions, videoOptionNames);
  const signal = checkSignal(options.abortSignal);
  const { system } = conversation;
  const { maxOutputTokens, temperature, topP, topK, seed, stopSequences } = options;
  const { presencePenalty = 0, frequencyPenalty = 0 } = options;
  const grammar = grammarOf(options.responseFormat);
  const ask = {
    ...(maxOutputTokens !== undefined && { maxTokens: maxOutputTokens }),
    ...(temperature !== undefined && { temperature }),
    ...(topP !== undefined && { topP }),
    ...(topK !== undefined && { topK }),
    // Any integer is a seed for the SDK, and 32 bits of it are one here.
    ...(seed !== undefined && { seed: seed >>> 0 }),
    ...(stopSequences !== undefined && { stop: stopSequences }),
    ...((presencePenalty !== 0 || frequencyPenalty !== 0) && {
      repeatPenalty: { penalty: 1, presencePenalty, frequencyPenalty },
    }),
    ...(grammar && { grammar }),
    ...(signal && { signal }),
  };
  return {
    conversation,
    chat: { ...defaults, ...own, ...(system !== undefined && { system }), ...(signal && { signal }) },
    ask: readAskOptions(ask),
    warnings: warningsOf(options),
  };
}

/** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for a schema that a grammar cannot hold */
function grammarOf(format: CallOptions['responseFormat']): { jsonSchema: object } | undefined {
  if (format === undefined || format.type === 'text') return undefined;
  if (format.schema === undefined) return { jsonSchema: anyObject };
  try {
    return {
      jsonSchema: readAnswerSchema(checkObject('responseFormat.schema', format.schema), 'responseFormat.schema'),
    };
  } catch (error) {
    if (!(error instanceof UnusableSchema)) throw error;
    throw unsupported(error.message);
  }
}

function warningsOf({ tools = [] }: CallOptions): CallWarning[] {
  if (tools.length === 0) return [];
  return [{ type: 'unsupported', feature: 'tools', details: 'The model calls no tools: it answers about a video.' }];
}
