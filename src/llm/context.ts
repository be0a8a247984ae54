// The context of a chat in llama.cpp, and its failures.
import type { LlamaContext } from 'node-llama-cpp';
import { isErrorOf, LongVLMError, messageOf } from '../base/errors.js';
import type { LanguageModel } from './model.js';

/** What llama.cpp evaluates at once where there is nothing else to consider. */
const usualBatch = 512;

/**
 * @param together the most tokens of the video that attend to each other; undefined if each attends to those before. Then they
 *   must fit into a batch, and layers with a sliding window keep all: what is taken back could not be evaluated again, as
 *   node-llama-cpp knows tokens of texts alone
 * @throws LongVLMError `ERR_LONGVLM_LLM` if there is no room for it, `ERR_LONGVLM_DISPOSED`
 */
export async function createContext(
  model: LanguageModel,
  contextSize: number,
  together?: number,
): Promise<LlamaContext> {
  model.checkUsable();
  try {
    return await model.model.createContext({
      ...{ contextSize, sequences: 1, threads: model.threads },
      ...(together !== undefined && {
        batchSize: Math.min(contextSize, Math.max(usualBatch, together)),
        swaFullCache: true,
      }),
    });
  } catch (error) {
    model.checkUsable();
    const batches =
      together === undefined || together <= usualBatch ? '' : ` with ${together} that attend to each other`;
    throw new LongVLMError(
      'ERR_LONGVLM_LLM',
      `llama.cpp cannot make a context of ${contextSize} tokens${batches}: ${messageOf(error)}. Lower contextSize or free memory.`,
      { cause: error },
    );
  }
}

/** Bytes of memory that a context takes, on the machine and on its GPU together, as node-llama-cpp estimates them. */
export async function bytesOfContext(
  { model }: LanguageModel,
  { contextSize, batchSize, flashAttention }: LlamaContext,
  together: number | undefined,
): Promise<number> {
  const { cpuRam, gpuVram } = await model.fileInsights.estimateContextResourceRequirementsV2({
    ...{ contextSize, batchSize, flashAttention, sequences: 1, modelGpuLayers: model.gpuLayers },
    swaFullCache: together !== undefined,
  });
  return cpuRam + gpuVram;
}

/** The error to throw for one of llama.cpp's, or for one of ours. */
export function asLongVLMError(error: unknown, model: LanguageModel, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted && error === signal.reason) return error;
  if (model.disposed) return model.disposedError();
  if (error instanceof LongVLMError || isErrorOf(error, 'TypeError', 'RangeError')) return error;
  return new LongVLMError('ERR_LONGVLM_LLM', `The language model failed: ${messageOf(error)}.`, { cause: error });
}
