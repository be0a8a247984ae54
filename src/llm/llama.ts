// Starts llama.cpp once for each device, and never disposes it: instances share one log, which disposing any would close.
import type { Llama } from 'node-llama-cpp';
import { LongVLMError, messageOf } from '../base/errors.js';

/** The language model's device. `auto` is the best GPU that llama.cpp can use on this machine, else the CPU. */
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
      // 0: no limit here. The default limit is at least 4, and threads beyond the number of cores spin while they wait.
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
  // For a GPU that the platform does not support, node-llama-cpp silently uses the CPU.
  await llama.dispose();
  throw cannotStart(noBinary);
}

/** Runs `work`. If it fails, `explain` is called with the errors that llama.cpp logged meanwhile, and returns the error to throw. */
export async function withErrorLog<T>(
  work: () => Promise<T>,
  explain: (lines: readonly string[], error: unknown) => Error,
): Promise<T> {
  const lines: string[] = [];
  listeners.add(lines);
  try {
    return await work();
  } catch (error) {
    // The log arrives from another thread, slightly later.
    await new Promise((resolve) => setTimeout(resolve, 20));
    throw explain(
      lines.flatMap((text) => text.split('\n')),
      error,
    );
  } finally {
    listeners.delete(lines);
  }
}
