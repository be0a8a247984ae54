import type { AskOptions } from '../llm/answer.js';
import type { ChatRequest } from './chatRequest.js';
import { readResponseFormat } from './responseFormat.js';

/** How a request wants its answer sampled; what it leaves open is the model's own. */
export function askOptionsOf(request: ChatRequest): AskOptions {
  const { temperature, top_p, top_k, min_p, seed, stop } = request;
  const { frequency_penalty, presence_penalty, repetition_penalty } = request;
  const maxTokens = request.max_completion_tokens ?? request.max_tokens;
  const grammar = readResponseFormat(request.response_format);
  const penalised = [frequency_penalty, presence_penalty].some(Boolean) || (repetition_penalty ?? 1) !== 1;
  return {
    ...(maxTokens != null && { maxTokens }),
    ...(temperature != null && { temperature }),
    ...(top_p != null && { topP: top_p }),
    // -1 is all, as for vLLM.
    ...(top_k != null && { topK: Math.max(0, top_k) }),
    ...(min_p != null && { minP: min_p }),
    // Any integer is a seed for OpenAI, and 32 bits of it are one here.
    ...(seed != null && { seed: seed >>> 0 }),
    ...(stop != null && { stop: typeof stop === 'string' ? [stop] : stop }),
    ...(penalised && {
      repeatPenalty: {
        penalty: repetition_penalty ?? 1,
        frequencyPenalty: frequency_penalty ?? 0,
        presencePenalty: presence_penalty ?? 0,
      },
    }),
    ...(grammar && { grammar }),
  };
}
