// The context of a chat in llama.cpp, and its failures.
import type { LlamaContext } from 'node-llama-cpp';
import { LongVLMError, messageOf } from '../base/errors.js';
import type { LanguageModel } from './model.js';

/** @throws LongVLMError `ERR_LONGVLM_LLM` if there is no room for it, `ERR_LONGVLM_DISPOSED` */
export async function createContext(model: LanguageModel, contextSize: number): Promise<LlamaContext> {
  model.checkUsable();
  try {
    return await model.model.createContext({ contextSize, sequences: 1, threads: model.threads });
  } catch (error) {
    model.checkUsable();
    throw new LongVLMError(
      'ERR_LONGVLM_LLM',
      `llama.cpp cannot make a context of ${contextSize} tokens: ${messageOf(error)}. Lower contextSize or free memory.`,
      { cause: error },
    );
  }
}

/** The error to throw for one of llama.cpp's, or for one of ours. */
export function asLongVLMError(error: unknown, model: LanguageModel, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted && error === signal.reason) return error;
  if (model.disposed) return model.disposedError();
  if (error instanceof LongVLMError || error instanceof TypeError || error instanceof RangeError) return error;
  return new LongVLMError('ERR_LONGVLM_LLM', `The language model failed: ${messageOf(error)}.`, { cause: error });
}
