// llama.cpp itself, started once for each device and kept: its instances share one log, which the end of any would close.
import type { Llama } from 'node-llama-cpp';
import { LongVLMError, messageOf } from '../base/errors.js';

/** Where the language model runs. `auto` takes the best GPU that llama.cpp can use here, else the CPU. */
export type LanguageModelDevice = 'auto' | 'cpu' | 'cuda' | 'vulkan' | 'metal';

/** The names of {@link LanguageModelDevice}. */
export const languageModelDevices = ['auto', 'cpu', 'cuda', 'vulkan', 'metal'] as const;

const started = new Map<LanguageModelDevice, Promise<Llama>>();
const listeners = new Set<string[]>();

/** @throws LongVLMError `ERR_LONGVLM_LLM` when llama.cpp cannot run on that device */
export function startLlama(device: LanguageModelDevice): Promise<Llama> {
  let llama = started.get(device);
  if (llama === undefined) {
    llama = start(device);
    started.set(device, llama);
    llama.catch(() => started.delete(device));
  }
  return llama;
}

async function start(device: LanguageModelDevice): Promise<Llama> {
  const { getLlama, LlamaLogLevel, NoBinaryFoundError } = await import('node-llama-cpp');
  const cannotStart = (cause: string, error?: unknown) =>
    new LongVLMError(
      'ERR_LONGVLM_LLM',
      `llama.cpp cannot start on ${device}: ${cause}. Install its driver, or use 'auto' or 'off' for the GPU.`,
      { cause: error },
    );
  const noBinary = 'node-llama-cpp has no binary for it that works on this machine';
  let llama: Llama;
  try {
    llama = await getLlama({
      gpu: device === 'cpu' ? false : device,
      build: 'never',
      skipDownload: true,
      progressLogs: false,
      // No limit of its own, which is four at least: threads beyond the cores wait for each other, spinning.
      maxThreads: 0,
      logLevel: LlamaLogLevel.error,
      logger: (_level, message) => {
        for (const lines of listeners) lines.push(message.trim());
      },
    });
  } catch (error) {
    throw cannotStart(error instanceof NoBinaryFoundError ? noBinary : messageOf(error), error);
  }
  if (device === 'auto' || (llama.gpu || 'cpu') === device) return llama;
  // Of a GPU that its platform does not know node-llama-cpp makes the CPU.
  await llama.dispose();
  throw cannotStart(noBinary);
}

/** Runs `work`; when it fails, `explain` gets what llama.cpp logged as errors meanwhile, and its error is thrown. */
export async function withErrorLog<T>(
  work: () => Promise<T>,
  explain: (lines: readonly string[], error: unknown) => Error,
): Promise<T> {
  const lines: string[] = [];
  listeners.add(lines);
  try {
    return await work();
  } catch (error) {
    // The log comes from another thread, a little later.
    await new Promise((resolve) => setTimeout(resolve, 20));
    throw explain(
      lines.flatMap((text) => text.split('\n')),
      error,
    );
  } finally {
    listeners.delete(lines);
  }
}
