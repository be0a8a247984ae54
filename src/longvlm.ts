import { LongVLMError } from './base/errors.js';
import type { Float32Tensor } from './base/tensor.js';
import { checkString, wrongType } from './base/validate.js';
import type { SamplingRequest, SettledSampling } from './encode/sampling.js';
import type { EncodeOptions, VideoEncoder } from './encode/videoEncoder.js';
import { checkVideoPart, VideoFeatures, type VideoPart } from './encode/videoFeatures.js';
import { type Answer, type AskOptions, checkAskOptions } from './llm/answer.js';
import { VideoChat, type VideoChatOptions } from './llm/chat.js';
import { type PromptTemplate, resolvePromptTemplate } from './llm/templates.js';
import { describeLoaded, type ModelsDescription, templateOf } from './load/describeModels.js';
import { checkFit, disposeModels, type LoadedModels, loadModels } from './load/loadModels.js';
import { checkOptions, type LongVLMOptions, type SettledOptions } from './load/options.js';
import { resolveModels } from './load/resolve.js';
import type { VideoInput } from './video/videoInput.js';

/** Options of {@link LongVLM.project}. */
export type ProjectOptions = {
  /** Which tokens the language model sees: `global`, `local`, or both, LongVLM's way. Defaults to `both`. */
  part?: VideoPart;
  signal?: AbortSignal | undefined;
};

/** Options of {@link LongVLM.chat}. */
export type ChatOptions = EncodeOptions & ProjectOptions & Omit<VideoChatOptions, 'signal'>;

/** What decides how long a prompt is. */
type PromptOptions = Pick<ChatOptions, 'part' | 'sampling' | 'template' | 'system' | 'contextSize'>;

/**
 * A {@link VideoEncoder}, a projector and a language model that together answer questions about long videos.
 *
 * @example
 * ```ts
 * const vlm = await LongVLM.load(); // the embedded model; or { vision, projector, llm } of your own
 * try {
 *   const chat = await vlm.chat('talk.mp4');
 *   console.log(await chat.ask('What does she solder first?'));
 * } finally {
 *   await vlm.dispose();
 * }
 * ```
 */
export class LongVLM {
  /** Name of the known model that was loaded, such as `nano`; undefined when files were named. */
  readonly preset: string | undefined;
  readonly #options: SettledOptions;
  readonly #loaded: LoadedModels;
  readonly #chats = new Set<VideoChat>();
  #disposing: Promise<void> | undefined;

  private constructor(options: SettledOptions, loaded: LoadedModels, preset: string | undefined) {
    this.preset = preset;
    this.#options = options;
    this.#loaded = loaded;
  }

  /**
   * Loads the models: those that are named, or the embedded model nano where none is. Weights stay in their files where
   * they can.
   * @throws TypeError or RangeError for a bad option; LongVLMError when a file is missing, damaged or of an unsupported
   *   kind, `ERR_LONGVLM_MISMATCH` when the models do not fit together, and `ERR_LONGVLM_PRESET` when nano is not whole
   */
  static async load(options: LongVLMOptions = {}): Promise<LongVLM> {
    checkOptions(options);
    options.signal?.throwIfAborted();
    const { options: settled, preset } = await resolveModels(options);
    const loaded = await loadModels(settled);
    try {
      checkFit(settled, loaded);
      return new LongVLM(settled, loaded, preset);
    } catch (error) {
      await disposeModels(loaded);
      throw error;
    }
  }

  /** What encodes videos. It goes with this LongVLM. */
  get encoder(): VideoEncoder {
    return this.#loaded.encoder;
  }

  /** How videos are sampled and merged unless a request says otherwise. */
  get sampling(): Omit<SettledSampling, 'reducer'> {
    const { reducer: _, ...sampling } = this.encoder.settle();
    return sampling;
  }

  /** Identity of the vision tower, as {@link VideoFeatures.tower} holds it. */
  get tower(): string {
    return this.encoder.identity;
  }

  /** Layout of conversations that name none. */
  get template(): PromptTemplate {
    return templateOf(this.#options, this.#loaded);
  }

  /** Temperature of answers that name none. */
  get temperature(): number {
    return this.#options.temperature;
  }

  /** What was loaded, for people and logs. */
  get models(): ModelsDescription {
    return describeLoaded(this.#options, this.#loaded);
  }

  /**
   * Samples, encodes and merges a video.
   * @param video a path or URL of a video, an animation or a still image; its bytes; a stream of them; or pictures in order
   * @throws as {@link VideoEncoder.encode}
   */
  async encode(video: VideoInput, options: EncodeOptions = {}): Promise<VideoFeatures> {
    this.#ensureNotDisposed();
    return this.encoder.encode(video, options);
  }

  /**
   * The embeddings that the language model sees for a video [tokens, width], for anyone's own pipeline.
   * @throws LongVLMError `ERR_LONGVLM_MISMATCH` when the features belong to another tower, or behind another projector
   */
  async project(features: VideoFeatures, options: ProjectOptions = {}): Promise<Float32Tensor> {
    if (!(features instanceof VideoFeatures)) wrongType('features', 'VideoFeatures', features);
    const { part = 'both', signal } = options;
    checkVideoPart(part);
    this.#ensureNotDisposed();
    features.checkTower(this.tower);
    const projector = this.#needed('projector');
    const tokens = features.tokens(part);
    if (features.projector === undefined) return projector.project(tokens, { ...(signal && { signal }) });
    features.checkProjector(projector.identity);
    return tokens;
  }

  /**
   * Starts a conversation about a video, which is encoded unless its features are given, and evaluated once.
   * @throws what {@link encode} and {@link VideoChat.create} throw
   */
  async chat(video: VideoInput | VideoFeatures, options: ChatOptions = {}): Promise<VideoChat> {
    const llm = this.#needed('llm');
    this.#needed('projector');
    const template = options.template ?? this.template;
    resolvePromptTemplate(template);
    checkVideoPart(options.part ?? 'both');
    if (!(video instanceof VideoFeatures)) this.checkQuestion(undefined, { ...options, template });
    const features = video instanceof VideoFeatures ? video : await this.encode(video, options);
    const embeddings = await this.project(features, options);
    const { system, contextSize, signal } = options;
    const chat = await VideoChat.create(llm, embeddings, {
      template,
      temperature: options.temperature ?? this.#options.temperature,
      ...(system !== undefined && { system }),
      ...(contextSize !== undefined && { contextSize }),
      ...(signal && { signal }),
    });
    for (const old of this.#chats) if (old.disposed) this.#chats.delete(old);
    this.#chats.add(chat);
    return chat;
  }

  /**
   * Asks one question about a video, in a context that is just large enough for it unless `contextSize` is given.
   * @param options `onText` is called with each piece of text as it comes
   * @throws what {@link chat} and {@link VideoChat.ask} throw
   */
  async ask(
    video: VideoInput | VideoFeatures,
    question: string,
    options: ChatOptions & AskOptions & { onText?: (text: string) => void } = {},
  ): Promise<Answer> {
    checkString('question', question);
    checkAskOptions(options);
    if (!(video instanceof VideoFeatures)) this.checkQuestion(question, options);
    const features = video instanceof VideoFeatures ? video : await this.encode(video, options);
    const contextSize = options.contextSize ?? this.requiredContextSize(features, question, options);
    const chat = await this.chat(features, { ...options, contextSize });
    try {
      await chat.ask(question, options);
      return chat.lastAnswer!;
    } finally {
      await chat.dispose();
    }
  }

  /**
   * Finds out whether a question fits into the context, in a moment, before a video is encoded for minutes.
   * @param question defaults to the shortest that there is
   * @throws LongVLMError `ERR_LONGVLM_CONTEXT_FULL` when it does not, `ERR_LONGVLM_UNSUPPORTED` when the chat template in the
   *   language model's file cannot be used
   */
  checkQuestion(question = '?', options: PromptOptions = {}): void {
    checkString('question', question);
    const tokens = this.tokenCountOf(options.part ?? 'both', options.sampling);
    VideoChat.checkFits(this.#needed('llm'), tokens, question, {
      ...options,
      template: options.template ?? this.template,
    });
  }

  /**
   * Tokens of context that one question about a video and its answer need, at most what the model was trained for: a longer
   * answer is cut there.
   */
  requiredContextSize(
    features: VideoFeatures,
    question: string,
    options: Pick<ChatOptions & AskOptions, 'part' | 'template' | 'system' | 'maxTokens'> = {},
  ): number {
    checkString('question', question);
    const videoTokens = features.tokenCountOf(options.part ?? 'both');
    return VideoChat.requiredContextSize(this.#needed('llm'), videoTokens, question, {
      ...options,
      template: options.template ?? this.template,
    });
  }

  /** Tokens of a video that the language model sees: global and local together. */
  get tokenCount(): number {
    return this.tokenCountOf('both');
  }

  /** Tokens of a part of a video, sampled as asked or by default; with `fps`, those of a single segment. */
  tokenCountOf(part: VideoPart, sampling?: SamplingRequest): number {
    return this.encoder.tokenCountOf(part, sampling);
  }

  /** Frees the vision tower, whose weights are float32 in memory (1.2 GB for ViT-L/14); the next video starts it again. */
  releaseVision(): Promise<void> {
    return this.encoder.release();
  }

  get disposed(): boolean {
    return this.#disposing !== undefined;
  }

  /** Frees the models and every chat. Safe to call twice. */
  dispose(): Promise<void> {
    this.#disposing ??= (async () => {
      await Promise.all([...this.#chats].map((chat) => chat.dispose()));
      await disposeModels(this.#loaded);
    })();
    return this.#disposing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #needed<Name extends 'projector' | 'llm'>(name: Name): NonNullable<LoadedModels[Name]> {
    this.#ensureNotDisposed();
    const model = this.#loaded[name];
    if (model === undefined)
      throw new TypeError(`Expected a path for ${name} in LongVLM.load() but received undefined; a chat needs it`);
    return model;
  }

  #ensureNotDisposed(): void {
    if (this.disposed) throw new LongVLMError('ERR_LONGVLM_DISPOSED', 'This LongVLM was disposed. Load it again.');
  }
}
