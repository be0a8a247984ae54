import path from 'node:path';
import type { ChatWrapper, GgufFileInfo, Llama, LlamaModel } from 'node-llama-cpp';
import { LongVLMError, messageOf } from '../errors.js';
import { checkFunction, checkInteger, checkOneOf, checkSignal, checkString } from '../validate.js';
import { openFile } from '../weights/tensorFile.js';
import { type LanguageModelDevice, languageModelDevices, startLlama, withErrorLog } from './llama.js';

type NodeLlamaCpp = typeof import('node-llama-cpp');

/** Options of {@link LanguageModel.load}. */
export type LanguageModelOptions = {
  /** Path of a GGUF file. */
  path: string;
  /** Defaults to `auto`. */
  device?: LanguageModelDevice;
  /** How many layers run on the GPU. Defaults to as many as fit. */
  gpuLayers?: number;
  /** Threads on the CPU. Defaults to the machine's physical cores. */
  threads?: number;
  /** Called with the share that is loaded, `0` to `1`. */
  onProgress?: (share: number) => void;
  signal?: AbortSignal;
};

/** A LLaMA-family language model in llama.cpp, loaded from a GGUF file by node-llama-cpp. */
export class LanguageModel {
  /** Path of the GGUF file. */
  readonly path: string;
  /** Width of an input embedding. */
  readonly width: number;
  /** The longest context that the model was trained for, in tokens. */
  readonly trainContextSize: number;
  /** @internal */
  readonly threads: number;
  /** @internal */
  readonly llama: Llama;
  /** @internal */
  readonly model: LlamaModel;
  /** @internal */
  readonly nodeLlamaCpp: NodeLlamaCpp;
  #chatWrapper: ChatWrapper | undefined;
  #disposing: Promise<void> | undefined;

  private constructor(
    file: string,
    nodeLlamaCpp: NodeLlamaCpp,
    llama: Llama,
    model: LlamaModel,
    threads: number | undefined,
  ) {
    this.path = file;
    this.nodeLlamaCpp = nodeLlamaCpp;
    this.threads = threads ?? llama.cpuMathCores;
    this.llama = llama;
    this.model = model;
    this.width = model.embeddingVectorSize;
    this.trainContextSize = model.trainContextSize;
  }

  /**
   * @throws LongVLMError `ERR_LONGVLM_FILE` when the file cannot be read, `ERR_LONGVLM_WEIGHTS` when it is not a whole
   *   GGUF file, `ERR_LONGVLM_UNSUPPORTED` when it holds no language model, `ERR_LONGVLM_LLM` when llama.cpp fails
   */
  static async load(options: LanguageModelOptions): Promise<LanguageModel> {
    const file = path.resolve(checkString('llm', options.path));
    const device = checkOneOf('device', options.device ?? 'auto', languageModelDevices);
    if (options.gpuLayers !== undefined) checkInteger('gpuLayers', options.gpuLayers, 0);
    if (options.threads !== undefined) checkInteger('threads', options.threads, 1);
    if (options.onProgress !== undefined) checkFunction('onProgress', options.onProgress);
    const signal = checkSignal(options.signal);
    signal?.throwIfAborted();

    await (await openFile(file)).close();
    const nodeLlamaCpp = await import('node-llama-cpp');
    checkIsLanguageModel(file, await readInfo(file, nodeLlamaCpp.readGgufFileInfo));
    const llama = await startLlama(device);
    signal?.throwIfAborted();
    const model = await withErrorLog(
      () =>
        llama.loadModel({
          modelPath: file,
          ...(options.gpuLayers !== undefined && { gpuLayers: options.gpuLayers }),
          ...(options.onProgress && { onLoadProgress: options.onProgress }),
          ...(signal && { loadSignal: signal }),
        }),
      (lines, error) => (signal?.aborted ? signal.reason : cannotLoad(file, lines, error)),
    );
    return new LanguageModel(file, nodeLlamaCpp, llama, model, options.threads);
  }

  /** What llama.cpp computes on: `cpu`, `cuda`, `vulkan` or `metal`. */
  get device(): string {
    return this.llama.gpu || 'cpu';
  }

  /** Layers that run on the GPU. */
  get gpuLayers(): number {
    return this.model.gpuLayers;
  }

  /** Name of the model, as its file says. */
  get name(): string {
    return this.model.fileInfo.metadata.general?.name ?? path.basename(this.path);
  }

  /** What lays out conversations as the chat template in the file does. @internal */
  get chatWrapper(): ChatWrapper {
    this.#chatWrapper ??= this.nodeLlamaCpp.resolveChatWrapper(this.model);
    return this.#chatWrapper;
  }

  /** The id of a special token with that text, if the vocabulary has it. */
  specialToken(text: string): number | undefined {
    const tokens = this.model.tokenize(text, true);
    return tokens.length === 1 && this.model.detokenize(tokens, true) === text ? tokens[0] : undefined;
  }

  get disposed(): boolean {
    return this.#disposing !== undefined;
  }

  /** Frees the model and all that was made from it. Safe to call twice. */
  dispose(): Promise<void> {
    this.#disposing ??= this.model.dispose();
    return this.#disposing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

function cannotLoad(file: string, lines: readonly string[], error: unknown): LongVLMError {
  const reason = lines.find((line) => line.includes(': ')) ?? messageOf(error);
  const cause = reason.replace(/^[\w ]*: (error loading model: )?/, '');
  if (/alloc|memory/i.test(reason))
    return new LongVLMError(
      'ERR_LONGVLM_LLM',
      `There is no room for ${file}: ${cause}. Free memory, lower gpuLayers, or use a smaller quantisation.`,
      { cause: error },
    );
  return new LongVLMError('ERR_LONGVLM_WEIGHTS', `llama.cpp cannot load ${file}: ${cause}. Get the file again.`, {
    cause: error,
  });
}

async function readInfo(file: string, read: NodeLlamaCpp['readGgufFileInfo']): Promise<GgufFileInfo> {
  try {
    return await read(file, { sourceType: 'filesystem', logWarnings: false });
  } catch (error) {
    throw new LongVLMError(
      'ERR_LONGVLM_WEIGHTS',
      `${file} is not a whole GGUF file: ${messageOf(error)}. Give the language model as a .gguf file, or get it again.`,
      { cause: error },
    );
  }
}

function checkIsLanguageModel(file: string, info: GgufFileInfo): void {
  const architecture = String(info.metadata.general?.architecture);
  const tokens = info.metadata.tokenizer?.ggml?.tokens;
  if (architecture === 'clip')
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `${file} holds a vision tower and its projector (an mmproj file), not a language model. Give the language model's own .gguf file.`,
    );
  if (!Array.isArray(tokens) || tokens.length === 0)
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `${file} is a GGUF file of architecture '${architecture}' without a vocabulary, not a language model. Give a LLaMA-family model.`,
    );
}
