// Starts llama.cpp once for each device, and never disposes it: instances share one log, which disposing any would close.
import type { Llama } from 'node-llama-cpp';
import { checkDescriptors, descriptorCause } from '../base/descriptors.js';
import { LongVLMError, messageOf } from '../base/errors.js';
import { checkProcesses, processRemedy } from '../base/processes.js';

/** The language model's device. `auto` is the best GPU that llama.cpp can use on this machine, else the CPU. */
export type LanguageModelDevice = 'auto' | 'cpu' | 'cuda' | 'vulkan' | 'metal';

/** The names of {@link LanguageModelDevice}. */
export const languageModelDevices = ['auto', 'cpu', 'cuda', 'vulkan', 'metal'] as const;

/** @internal */
type NodeLlamaCpp = typeof import('node-llama-cpp');

// Node opens so many of the package's files at once, and some more. Where it cannot, it remembers that, and never tries again.
const filesAtOnce = 160;

let loaded: Promise<NodeLlamaCpp> | undefined;

const started = new Map<LanguageModelDevice, Promise<Llama>>();
const listeners = new Set<string[]>();

/** @throws LongVLMError `ERR_LONGVLM_LLM` when node-llama-cpp cannot be loaded. @internal */
export function loadNodeLlamaCpp(): Promise<NodeLlamaCpp> {
  if (loaded === undefined) {
    loaded = load();
    loaded.catch(() => (loaded = undefined));
  }
  return loaded;
}

async function load(): Promise<NodeLlamaCpp> {
  try {
    checkDescriptors(filesAtOnce);
    return await import('node-llama-cpp');
  } catch (error) {
    throw cannotLoad(error);
  }
}

/** The error for node-llama-cpp when Node does not load it. */
export function cannotLoad(error: unknown): LongVLMError {
  const [cause, remedy] = descriptorCause(error) ?? [messageOf(error), 'Install longvlm again.'];
  return new LongVLMError('ERR_LONGVLM_LLM', `node-llama-cpp cannot be loaded: ${cause}. ${remedy}`, { cause: error });
}

/** @throws LongVLMError `ERR_LONGVLM_LLM` when llama.cpp cannot run on that device. @internal */
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
  const { getLlama, LlamaLogLevel, NoBinaryFoundError } = await loadNodeLlamaCpp();
  const cannotStart = (
    cause: string,
    error?: unknown,
    remedy = "Install its driver, or use 'auto' or 'off' for the GPU.",
  ) =>
    new LongVLMError('ERR_LONGVLM_LLM', `llama.cpp cannot start on ${device}: ${cause}. ${remedy}`, { cause: error });
  const noBinary = 'node-llama-cpp has no binary for it that works on this machine';
  let llama: Llama;
  try {
    // It starts processes, to try its binaries.
    checkDescriptors();
    await checkProcesses().catch((error: unknown) => {
      throw cannotStart(`no process can be started to try it: ${messageOf(error)}`, error, processRemedy);
    });
    llama = await forFiles(() =>
      getLlama({
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
      }),
    );
  } catch (error) {
    if (error instanceof LongVLMError) throw error;
    const [cause, remedy] = descriptorCause(error) ?? [];
    if (cause === undefined && error instanceof NoBinaryFoundError)
      throw cannotStart(noBinary, error, binaryRemedy(device));
    throw cannotStart(cause ?? messageOf(error), error, remedy);
  }
  if (device === 'auto' || (llama.gpu || 'cpu') === device) return llama;
  // For a GPU that the platform does not support, node-llama-cpp silently uses the CPU.
  await llama.dispose();
  throw cannotStart(noBinary, undefined, binaryRemedy(device));
}

/**
 * Does work that starts files of Node's with the options of this process, as node-llama-cpp does to try its binaries: those that are for
 * a script on the command line (`node --input-type=module -e …`) would end them.
 */
async function forFiles<T>(work: () => Promise<T>): Promise<T> {
  if (startingFiles++ === 0) {
    ownOptions = process.execArgv;
    process.execArgv = ownOptions.filter(
      (option, index) => !option.startsWith('--input-type') && ownOptions[index - 1] !== '--input-type',
    );
  }
  try {
    return await work();
  } finally {
    if (--startingFiles === 0) process.execArgv = ownOptions;
  }
}

let startingFiles = 0;
let ownOptions: string[] = [];

/** What helps where node-llama-cpp finds no binary: its packages for a machine are optional dependencies. */
function binaryRemedy(device: LanguageModelDevice): string {
  const system = ({ darwin: 'mac', win32: 'win' } as Record<string, string>)[process.platform] ?? 'linux';
  const machine = `@node-llama-cpp/${system}-${process.arch}${system === 'mac' && process.arch === 'arm64' ? '-metal' : ''}`;
  if (device === 'cpu' || device === 'auto')
    return `Install longvlm again with its optional dependencies (without --omit=optional): it needs ${machine}.`;
  const needed = device === 'metal' ? machine : `${machine}-${device}`;
  return `Install its driver, and its package ${needed} where that is missing (of node-llama-cpp's version, as longvlm info shows it), or use 'auto' or 'off' for the GPU.`;
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
