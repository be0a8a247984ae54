// How much of a GPU's memory a graph may take, and what happens when that is too little.
import { LongVLMError } from '../base/errors.js';
import { checkInteger } from '../base/validate.js';

const variable = 'LONGVLM_GPU_MEMORY';

// Enough for ViT-L/14 with a micro-batch of full size in float16, and of 20 frames in float32, and little enough for a language model beside it.
const defaultMebibytes = 3072;
const mostMebibytes = 2 ** 22;

/**
 * The most memory for the values of one graph, beside its weights: `LONGVLM_GPU_MEMORY` in MiB. Defaults to 3072.
 * @throws RangeError when it is no such number
 */
export function gpuMemoryBytes(): number {
  const given = process.env[variable];
  const number = given ? checkInteger(variable, Number(given), 1, mostMebibytes) : defaultMebibytes;
  return number * 2 ** 20;
}

/** Whether a run failed because the GPU has not enough memory. */
export function isOutOfMemory(error: unknown): error is LongVLMError {
  return error instanceof LongVLMError && error.code === 'ERR_LONGVLM_CUDA_OOM';
}

/**
 * Runs with fewer rows at once until they fit into a GPU's memory.
 * @param name what runs, in the warning that the process emits
 * @param batch rows at once, at first
 * @returns how many fitted
 */
export async function inWhatFits(name: string, batch: number, run: (batch: number) => Promise<void>): Promise<number> {
  let rows = batch;
  while (!(await fits(rows, run))) rows = Math.ceil(rows / 2);
  if (rows < batch)
    process.emitWarning(
      `${name} runs ${rows} rows at a time from now on, which is slower: ${batch} do not fit into the GPU's memory. Free some there, or set ${variable} to more MiB.`,
      'LongVLMWarning',
    );
  return rows;
}

async function fits(rows: number, run: (batch: number) => Promise<void>): Promise<boolean> {
  try {
    await run(rows);
    return true;
  } catch (error) {
    if (isOutOfMemory(error) && rows > 1) return false;
    throw error;
  }
}

/** The error for what does not even fit alone. */
export function outOfMemory(what: string, device: string, error: Error): LongVLMError {
  return new LongVLMError(
    'ERR_LONGVLM_CUDA_OOM',
    `${what} does not fit into the memory of ${device}: ${error.message}. Free some there (the language model's gpuLayers take most), set ${variable} to more MiB, take precision float16, or device cpu.`,
    { cause: error },
  );
}
