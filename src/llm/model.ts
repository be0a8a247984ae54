import path from 'node:path';
import type { Llama, LlamaModel } from 'node-llama-cpp';
import { raceAbort } from '../base/abort.js';
import { withCallbacks } from '../base/callbacks.js';
import { LongVLMError, messageOf } from '../base/errors.js';
import type { OnProgress } from '../base/progress.js';
import {
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  checkSignal,
  checkString,
  wrongType,
} from '../base/validate.js';
import { type GgufFile, openGguf } from '../files/gguf.js';
import { numberIn, wordIn } from '../files/metadataValues.js';
import { giveBackMemory } from './giveBackMemory.js';
import { checkLanguageModel, modelInput } from './header.js';
import { type ChatTemplate, compileTemplateOf } from './jinja/chatTemplate.js';
import { SpecialTexts } from './jinja/specialTexts.js';
import { type LanguageModelDevice, languageModelDevices, startLlama, withErrorLog } from './llama.js';
import { rememberFile } from './modelFile.js';

/** Options of {@link LanguageModel.load}. */
export type LanguageModelOptions = {
  /** Path of a GGUF file. */
  path: string;
  /** Where the model runs. Defaults to `auto`. */
  device?: LanguageModelDevice;
  /** How many layers run on the GPU. Defaults to as many as fit. */
  gpuLayers?: number;
  /** Threads on the CPU. Defaults to the machine's physical cores. */
  threads?: number;
  /** Loads only the vocabulary; the first conversation loads the weights. Defaults to `false`. */
  lazy?: boolean;
  /** Called with the loaded share, from 0 to 1. */
  onProgress?: OnProgress;
  signal?: AbortSignal | null;
};

/** A LLaMA-family language model in llama.cpp, loaded from a GGUF file by node-llama-cpp. */
export class LanguageModel {
  /** Path of the GGUF file. */
  readonly path: string;
  /** Width of an embedding. */
  readonly width: number;
  /**
   * Width of a row that {@link evaluateEmbeddings} takes: {@link width}, and as much again for each later layer that adds a row
   * of its own to it (DeepStack).
   */
  readonly inputWidth: number;
  /** Positions of a token: 1, or 3 for a model that places it in time, height and width (M-RoPE). */
  readonly axes: 1 | 3;
  /** The longest context that the model was trained for, in tokens. */
  readonly trainContextSize: number;
  /** Default layout of conversations: the chat template in the file if it has one, else `long_vlm_v1`. */
  readonly defaultTemplate: 'chat_template' | 'long_vlm_v1';
  /** @internal */
  readonly threads: number;
  /** @internal */
  readonly llama: Llama;
  /** The chat template in the file, if it has one. @internal */
  readonly chatTemplate: ChatTemplate | undefined;
  /** @internal */
  readonly specialTexts: SpecialTexts;
  readonly #checkFile: () => Promise<void>;
  readonly #loadWhole: (signal: AbortSignal) => Promise<LlamaModel>;
  readonly #disposal = new AbortController();
  #model: LlamaModel;
  #whole: Promise<void> | undefined;
  #disposing: Promise<void> | undefined;

  /** No proxy, and no object that only has the prototype. @internal */
  static [Symbol.hasInstance](value: unknown): value is LanguageModel {
    return typeof value === 'object' && value !== null && #model in value;
  }

  private constructor(
    gguf: GgufFile,
    chatTemplate: ChatTemplate | undefined,
    specialTexts: SpecialTexts,
    llama: Llama,
    model: LlamaModel,
    threads: number | undefined,
    checkFile: () => Promise<void>,
    loadWhole: (signal: AbortSignal) => Promise<LlamaModel>,
  ) {
    const architecture = wordIn(gguf.metadata, 'general.architecture');
    const { width, rows, axes } = modelInput(gguf);
    this.path = gguf.path;
    this.chatTemplate = chatTemplate;
    this.specialTexts = specialTexts;
    this.threads = threads ?? llama.cpuMathCores;
    this.llama = llama;
    this.width = width;
    this.inputWidth = width * (1 + rows);
    this.axes = axes;
    this.trainContextSize = numberIn(gguf.metadata, `${architecture}.context_length`, 0);
    this.defaultTemplate = chatTemplate ? 'chat_template' : 'long_vlm_v1';
    this.#model = model;
    this.#checkFile = checkFile;
    this.#loadWhole = loadWhole;
  }

  /**
   * @throws LongVLMError `ERR_LONGVLM_FILE` when the file cannot be read, `ERR_LONGVLM_WEIGHTS` when it is not a complete
   *   GGUF file, `ERR_LONGVLM_UNSUPPORTED` when it holds no language model, `ERR_LONGVLM_LLM` when llama.cpp fails
   */
  static load(options: LanguageModelOptions): Promise<LanguageModel> {
    return withCallbacks(
      options,
      ['onProgress'],
      (guarded) => LanguageModel.#load(guarded),
      (model) => model.dispose(),
    );
  }

  static async #load(options: LanguageModelOptions): Promise<LanguageModel> {
    checkObject('options', options);
    const file = path.resolve(checkString('llm', options.path));
    const device = checkOneOf('device', options.device ?? 'auto', languageModelDevices);
    if (options.gpuLayers !== undefined) checkInteger('gpuLayers', options.gpuLayers, 0);
    if (options.threads !== undefined) checkInteger('threads', options.threads, 1);
    const lazy = options.lazy ?? false;
    if (typeof lazy !== 'boolean') wrongType('lazy', 'boolean', lazy);
    if (options.onProgress !== undefined) checkFunction('onProgress', options.onProgress);
    const signal = checkSignal(options.signal);
    signal?.throwIfAborted();

    const gguf = await openGguf(file);
    await checkLanguageModel(gguf);
    const specialTexts = await SpecialTexts.of(gguf.metadata);
    signal?.throwIfAborted();
    const checkFile = await rememberFile(file);
    const compiling = compileTemplateOf(gguf, signal);
    // Awaited below.
    compiling.catch(() => {});
    const llama = await startLlama(device).finally(() => signal?.throwIfAborted());
    const load = (vocabOnly: boolean, loadSignal: AbortSignal | undefined) =>
      reportingLoad(vocabOnly ? undefined : options.onProgress, path.basename(file), (onLoadProgress) =>
        withErrorLog(
          () =>
            llama.loadModel({
              modelPath: file,
              vocabOnly,
              ...(options.gpuLayers !== undefined && { gpuLayers: options.gpuLayers }),
              ...(onLoadProgress && { onLoadProgress }),
              ...(loadSignal && { loadSignal }),
            }),
          (lines, error) => (loadSignal?.aborted ? loadSignal.reason : cannotLoad(file, lines, error)),
        ),
      );
    const model = await load(lazy, signal);
    const chatTemplate = await compiling.catch(async (error: unknown) => {
      await model.dispose();
      throw error;
    });
    const languageModel = new LanguageModel(
      gguf,
      chatTemplate,
      specialTexts,
      llama,
      model,
      options.threads,
      checkFile,
      (signal) => load(false, signal),
    );
    if (!lazy) languageModel.#whole = Promise.resolve();
    return languageModel;
  }

  /** The loaded model; if lazy, only its vocabulary until {@link loadWhole}. @internal */
  get model(): LlamaModel {
    return this.#model;
  }

  /**
   * Loads the weights of a lazy model. An abort by one caller does not affect later callers.
   * @throws as {@link load}; `ERR_LONGVLM_DISPOSED`; `signal.reason`
   * @internal
   */
  async loadWhole(signal: AbortSignal | undefined): Promise<void> {
    this.checkUsable();
    await this.checkFile();
    this.#whole ??= this.#replaceVocabulary().catch((error: unknown) => {
      // The next caller retries.
      this.#whole = undefined;
      throw error;
    });
    return raceAbort(this.#whole, signal);
  }

  /** What is there of the steps before goes first: most memory is taken while the weights are read. */
  async #replaceVocabulary(): Promise<void> {
    await giveBackMemory();
    const model = await this.#loadWhole(this.#disposal.signal);
    const vocabulary = this.#model;
    this.#model = model;
    await vocabulary.dispose();
    await giveBackMemory();
  }

  /** The device that llama.cpp uses: `cpu`, `cuda`, `vulkan` or `metal`. */
  get device(): string {
    return this.llama.gpu || 'cpu';
  }

  /** Layers that run on the GPU. */
  get gpuLayers(): number {
    return this.model.gpuLayers;
  }

  /** Name of the model, from its file. */
  get name(): string {
    return this.model.fileInfo.metadata.general?.name ?? path.basename(this.path);
  }

  /** Tokenises a text; special tokens in it are treated as plain text. */
  tokenize(text: string): number[] {
    return this.model.tokenize(text);
  }

  /** The id of the special token with that text; undefined if the vocabulary lacks it. */
  specialToken(text: string): number | undefined {
    const tokens = this.model.tokenize(text, true);
    return tokens.length === 1 && this.model.detokenize(tokens, true) === text ? tokens[0] : undefined;
  }

  get disposed(): boolean {
    return this.#disposing !== undefined;
  }

  /**
   * Before llama.cpp reads the weights. A file that is cut while it does still ends the process.
   * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` if the file has been cut since it was loaded
   * @internal
   */
  checkFile(): Promise<void> {
    return this.#checkFile();
  }

  /** @throws LongVLMError `ERR_LONGVLM_DISPOSED` @internal */
  checkUsable(): void {
    if (this.disposed) throw this.disposedError();
  }

  /** @internal */
  disposedError(): LongVLMError {
    return new LongVLMError('ERR_LONGVLM_DISPOSED', 'The language model was disposed. Load it again.');
  }

  /** Frees the model and its contexts. Safe to call twice. */
  dispose(): Promise<void> {
    this.#disposing ??= (async () => {
      this.#disposal.abort(this.disposedError());
      await this.#whole?.catch(() => {});
      await this.#model.dispose();
    })();
    return this.#disposing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/**
 * Loads a model with progress reports; the last one is `1`. llama.cpp reports from another thread, possibly after loading has
 * finished: late reports are dropped.
 */
async function reportingLoad(
  onProgress: OnProgress | undefined,
  name: string,
  load: (onLoadProgress?: (share: number) => void) => Promise<LlamaModel>,
): Promise<LlamaModel> {
  if (onProgress === undefined) return load();
  let reported = 0;
  let ended = false;
  const report = (share: number) => {
    if (ended || share <= reported) return;
    reported = share;
    onProgress({ stage: 'load', done: share, total: 1, unit: 'share', name });
  };
  let model: LlamaModel | undefined;
  try {
    model = await load(report);
    report(1);
    return model;
  } catch (error) {
    await model?.dispose();
    throw error;
  } finally {
    ended = true;
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

/** @throws TypeError if `model` is no {@link LanguageModel} */
export function checkModel(model: unknown): void {
  if (!(model instanceof LanguageModel)) wrongType('model', 'LanguageModel', model);
}
