import { basename } from 'node:path';
import { LongVLMError } from './base/errors.js';
import { hashFile, hashOf } from './base/hash.js';
import type { Float32Tensor } from './base/tensor.js';
import { checkFunction, checkSignal, checkString, wrongType } from './base/validate.js';
import { type EncodeProgress, encodeVideo } from './encode/encodeVideo.js';
import { checkCache, FeaturesCache } from './encode/featuresCache.js';
import { checkVideoPart, countTokens, type Sampling, VideoFeatures, type VideoPart } from './encode/videoFeatures.js';
import { type Answer, type AskOptions, checkAskOptions } from './llm/answer.js';
import { VideoChat, type VideoChatOptions } from './llm/chat.js';
import type { LanguageModel } from './llm/model.js';
import { type PromptTemplate, resolvePromptTemplate } from './llm/templates.js';
import { describeParts, type LongVLMParts, loadParts, type Parts } from './load/loadModels.js';
import { checkOptions, type LongVLMOptions, type SettledOptions, samplingOf } from './load/options.js';
import { resolveModels } from './load/resolve.js';
import type { Projector } from './projector/projector.js';
import type { VisionEncoder } from './tower/visionEncoder.js';

/** Options of {@link LongVLM.encode}. */
export type EncodeOptions = {
  /** As in {@link LongVLMOptions.cache}, which is its default. */
  cache?: boolean | FeaturesCache | undefined;
  onProgress?: (progress: EncodeProgress) => void;
  signal?: AbortSignal;
};

/** Options of {@link LongVLM.project}. */
export type ProjectOptions = {
  /** Which tokens the language model sees: `global`, `local`, or both, LongVLM's way. Defaults to `both`. */
  part?: VideoPart;
  signal?: AbortSignal;
};

/** Options of {@link LongVLM.chat}. */
export type ChatOptions = EncodeOptions & ProjectOptions & Omit<VideoChatOptions, 'signal'>;

/**
 * A vision tower, a projector and a language model that together answer questions about long videos.
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
  /** How videos are sampled and merged. */
  readonly sampling: Sampling;
  /** Name of the preset that was loaded, such as `nano`; undefined when models were named. */
  readonly preset: string | undefined;
  readonly #options: SettledOptions;
  readonly #vision: VisionEncoder;
  readonly #projector: Projector | undefined;
  readonly #llm: LanguageModel | undefined;
  readonly #chats = new Set<VideoChat>();
  #disposing: Promise<void> | undefined;

  private constructor(options: SettledOptions, parts: Parts, preset: string | undefined) {
    this.preset = preset;
    this.#options = options;
    this.#vision = parts.vision;
    this.#projector = parts.projector;
    this.#llm = parts.llm;
    this.sampling = samplingOf(options, parts.vision.config.heads);
  }

  /**
   * Loads the parts: those that are named, or the embedded model nano where none is. Weights stay in their files where
   * they can.
   * @throws TypeError or RangeError for a bad option; LongVLMError when a file is missing, damaged or of an unsupported
   *   kind, `ERR_LONGVLM_MISMATCH` when the parts do not fit together, and `ERR_LONGVLM_PRESET` when nano is not whole
   */
  static async load(options: LongVLMOptions = {}): Promise<LongVLM> {
    checkOptions(options);
    const { signal } = options;
    signal?.throwIfAborted();
    const { options: settled, preset } = await resolveModels(options);
    return new LongVLM(settled, await loadParts(settled, signal), preset);
  }

  /** Identity of the vision tower, as {@link VideoFeatures.tower} holds it. */
  get tower(): string {
    return this.#vision.identity;
  }

  /** Layout of conversations that name none. */
  get template(): PromptTemplate {
    return resolvePromptTemplate(this.#options.template ?? this.#llm?.defaultTemplate ?? 'long_vlm_v1');
  }

  /** Temperature of answers that name none. */
  get temperature(): number {
    return this.#options.temperature;
  }

  /** What was loaded, for people and logs. */
  get parts(): LongVLMParts {
    return describeParts(
      { vision: this.#vision, projector: this.#projector, llm: this.#llm },
      this.#options,
      this.template.name,
    );
  }

  /**
   * Samples, encodes and merges a video.
   * @param video path of a video, an animation or a still image
   * @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_VIDEO`, `ERR_LONGVLM_FFMPEG_MISSING`,
   *   `ERR_LONGVLM_NOT_FINITE` when the tower's weights give NaN; or `signal.reason`
   */
  async encode(video: string, options: EncodeOptions = {}): Promise<VideoFeatures> {
    checkString('video', video);
    const { onProgress, cache = this.#options.cache ?? false } = options;
    if (onProgress !== undefined) checkFunction('onProgress', onProgress);
    checkCache(cache);
    const signal = checkSignal(options.signal);
    signal?.throwIfAborted();
    this.#ensureNotDisposed();
    const encode = (signal?: AbortSignal) =>
      encodeVideo(this.#vision, video, this.sampling, {
        ...(this.#options.ffmpeg !== undefined && { ffmpeg: this.#options.ffmpeg }),
        ...(onProgress && { onProgress }),
        ...(signal && { signal }),
      });
    if (cache === false) return encode(signal);
    const { frames } = this.sampling;
    onProgress?.({ stage: 'probe', frames: 0, totalFrames: frames });
    const kept = cache === true ? await FeaturesCache.openDefault() : cache;
    const identity = { tower: this.tower, sampling: this.sampling };
    const matches = ({ tower, sampling }: VideoFeatures) => hashOf({ tower, sampling }) === hashOf(identity);
    const content = (signal?: AbortSignal) => hashFile(video, signal);
    const request = { content, name: basename(video), identity, matches };
    const features = await kept.featuresOf(request, encode, signal);
    onProgress?.({ stage: 'encode', frames, totalFrames: frames });
    return features;
  }

  /**
   * The embeddings that the language model sees for a video [tokens, width], for anyone's own pipeline.
   * @throws LongVLMError `ERR_LONGVLM_MISMATCH` when the features belong to another tower
   */
  async project(features: VideoFeatures, options: ProjectOptions = {}): Promise<Float32Tensor> {
    if (!(features instanceof VideoFeatures)) wrongType('features', 'VideoFeatures', features);
    const { part = 'both', signal } = options;
    checkVideoPart(part);
    this.#ensureNotDisposed();
    features.checkTower(this.tower);
    return this.#needed('projector', this.#projector).project(features.tokens(part), { ...(signal && { signal }) });
  }

  /**
   * Starts a conversation about a video, which is encoded unless its features are given, and evaluated once.
   * @throws what {@link encode} and {@link VideoChat.create} throw
   */
  async chat(video: string | VideoFeatures, options: ChatOptions = {}): Promise<VideoChat> {
    const llm = this.#needed('llm', this.#llm);
    this.#needed('projector', this.#projector);
    const template = options.template ?? this.template;
    resolvePromptTemplate(template);
    checkVideoPart(options.part ?? 'both');
    if (!(video instanceof VideoFeatures)) this.checkQuestion(undefined, { ...options, template });
    const features = video instanceof VideoFeatures ? video : await this.encode(video, options);
    const embeddings = await this.project(features, options);
    const { onProgress: _, part: __, ...chatOptions } = options;
    const temperature = options.temperature ?? this.#options.temperature;
    const chat = await VideoChat.create(llm, embeddings, { ...chatOptions, template, temperature });
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
    video: string | VideoFeatures,
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
  checkQuestion(question = '?', options: Pick<ChatOptions, 'part' | 'template' | 'system' | 'contextSize'> = {}): void {
    checkString('question', question);
    VideoChat.checkFits(this.#needed('llm', this.#llm), this.tokenCountOf(options.part ?? 'both'), question, {
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
    return VideoChat.requiredContextSize(this.#needed('llm', this.#llm), videoTokens, question, {
      ...options,
      template: options.template ?? this.template,
    });
  }

  /** Tokens of a video that the language model sees: global and local together. */
  get tokenCount(): number {
    return this.tokenCountOf('both');
  }

  /** Tokens of a part of a video. */
  tokenCountOf(part: VideoPart): number {
    const { frames, segmentFrames, tokensPerSegment, globalLayers } = this.sampling;
    return countTokens(part, globalLayers, (frames / segmentFrames) * tokensPerSegment);
  }

  /** Frees the vision tower, whose weights are float32 in memory (1.2 GB for ViT-L/14); the next video starts it again. */
  releaseVision(): Promise<void> {
    return this.#vision.release();
  }

  get disposed(): boolean {
    return this.#disposing !== undefined;
  }

  /** Frees the parts and every chat. Safe to call twice. */
  dispose(): Promise<void> {
    this.#disposing ??= (async () => {
      await Promise.all([...this.#chats].map((chat) => chat.dispose()));
      await Promise.all([this.#vision.dispose(), this.#projector?.dispose(), this.#llm?.dispose()]);
    })();
    return this.#disposing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #needed<T>(name: 'projector' | 'llm', part: T | undefined): T {
    this.#ensureNotDisposed();
    if (part === undefined)
      throw new TypeError(`Expected a path for ${name} in LongVLM.load() but received undefined; a chat needs it`);
    return part;
  }

  #ensureNotDisposed(): void {
    if (this.disposed) throw new LongVLMError('ERR_LONGVLM_DISPOSED', 'This LongVLM was disposed. Load it again.');
  }
}
