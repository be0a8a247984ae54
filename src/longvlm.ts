import { withCallbacks } from './base/callbacks.js';
import { LongVLMError } from './base/errors.js';
import { readOptions } from './base/options.js';
import type { Scheduler } from './base/scheduler.js';
import { type Float32Tensor, float32Tensor } from './base/tensor.js';
import { checkFunction, checkSignal, checkString, wrongType } from './base/validate.js';
import type { VideoRuns } from './base/videoRun.js';
import { projectTokens } from './encode/projectTokens.js';
import type { SamplingRequest, SettledSampling } from './encode/sampling.js';
import type { EncodeOptions, VideoEncoder } from './encode/videoEncoder.js';
import { checkVideoPart, featuresOf, ofPart, type VideoFeatures, type VideoPart } from './encode/videoFeatures.js';
import { type Answer, type AskOptions, readAskOptions } from './llm/answer.js';
import { VideoChat } from './llm/chat.js';
import type { VideoChatOptions } from './llm/chatOptions.js';
import { describePrompt, type PromptDescription } from './llm/describePrompt.js';
import { type GivenConversation, textsOf } from './llm/givenConversation.js';
import { type PromptTemplate, resolvePromptTemplate } from './llm/templates.js';
import { describeLoaded, type ModelsDescription, templateOf } from './load/describeModels.js';
import { checkFit, disposeModels, type LoadedModels, loadModels } from './load/loadModels.js';
import { checkOptions, type LongVLMOptions, type SettledOptions } from './load/options.js';
import { resolveModels } from './load/resolve.js';
import type { VideoInput } from './video/videoInput.js';

/** Options of {@link LongVLM.project}. */
export type ProjectOptions = {
  /** Which tokens of the video the language model sees: `global`, `local`, or `both`. Defaults to `both`. */
  part?: VideoPart;
  signal?: AbortSignal | null | undefined;
};

/** Options of {@link LongVLM.chat}. */
export type ChatOptions = EncodeOptions & ProjectOptions & Omit<VideoChatOptions, 'signal' | 'runs' | 'attention'>;

/** Texts of a turn are set into some tokens of the template. */
const templateTokens = 32;

// A record, so that none is forgotten.
const isChatOption: Readonly<Record<keyof ChatOptions, true>> = {
  ...{ sampling: true, limits: true, cache: true, onProgress: true, signal: true, part: true },
  ...{ template: true, system: true, temperature: true, contextSize: true, timestamps: true },
};
const chatOptionNames = Object.keys(isChatOption) as (keyof ChatOptions)[];

/** The options that determine the length of a prompt. */
export type PromptOptions = Pick<
  ChatOptions,
  'part' | 'sampling' | 'template' | 'system' | 'contextSize' | 'timestamps'
>;

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
  /** Name of the model of the catalogue that was loaded, such as `nano`; undefined when files were named. */
  readonly preset: string | undefined;
  readonly #options: SettledOptions;
  readonly #loaded: LoadedModels;
  readonly #chats = new Set<VideoChat>();
  #disposing: Promise<void> | undefined;

  /** No proxy, and no object that only has the prototype. @internal */
  static [Symbol.hasInstance](value: unknown): value is LongVLM {
    return typeof value === 'object' && value !== null && #loaded in value;
  }

  private constructor(options: SettledOptions, loaded: LoadedModels, preset: string | undefined) {
    this.preset = preset;
    this.#options = options;
    this.#loaded = loaded;
  }

  /**
   * Loads the named models, or the embedded model nano if none is named. Unquantised weights of tower and projector are used in
   * place, from their files.
   * @throws TypeError or RangeError for a wrong option; LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS` or
   *   `ERR_LONGVLM_UNSUPPORTED` when a file is missing, damaged or of an unsupported kind, `ERR_LONGVLM_MISMATCH` when the models
   *   do not fit together, `ERR_LONGVLM_HUB` when a download fails, `ERR_LONGVLM_PRESET` when nano is incomplete,
   *   `ERR_LONGVLM_LLM` or `ERR_LONGVLM_INFERENCE` when a runtime fails; `signal.reason`
   */
  static load(options: LongVLMOptions = {}): Promise<LongVLM> {
    return withCallbacks(
      options,
      ['onProgress'],
      (guarded) => LongVLM.#load(guarded),
      (vlm) => vlm.dispose(),
    );
  }

  static async #load(options: LongVLMOptions): Promise<LongVLM> {
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

  /** The encoder of videos. It is disposed together with this LongVLM. */
  get encoder(): VideoEncoder {
    return this.#loaded.encoder;
  }

  /** Default sampling of videos; a request can override it. */
  get sampling(): Omit<SettledSampling, 'reducer'> {
    const { reducer: _, ...sampling } = this.encoder.settle();
    return sampling;
  }

  /** Identity of the vision tower, as {@link VideoFeatures.tower} holds it. */
  get tower(): string {
    return this.encoder.identity;
  }

  /** Default layout of conversations. */
  get template(): PromptTemplate {
    return templateOf(this.#options, this.#loaded);
  }

  /** Default temperature of answers. */
  get temperature(): number {
    return this.#options.temperature;
  }

  /** Description of the loaded models, for people and logs. */
  get models(): ModelsDescription {
    return describeLoaded(this.#options, this.#loaded);
  }

  /**
   * Samples and encodes a video, and reduces its tokens.
   * @param video a path or URL of a video, an animation or a still image; its bytes; a stream of them; or pictures in order
   * @throws as {@link VideoEncoder.encode}
   */
  async encode(video: VideoInput, options: EncodeOptions = {}): Promise<VideoFeatures> {
    this.#ensureNotDisposed();
    return this.encoder.encode(video, options);
  }

  /**
   * The embeddings of a video that the language model sees, [tokens, width], for your own pipeline: with the one that ends a
   * video, where its model has one.
   * @throws LongVLMError `ERR_LONGVLM_MISMATCH` when the features belong to another tower or projector
   */
  async project(given: VideoFeatures, options: ProjectOptions = {}): Promise<Float32Tensor> {
    const features = featuresOf(given) ?? wrongType('features', 'VideoFeatures', given);
    const { part = 'both', signal } = readOptions(options, ['part', 'signal']);
    checkVideoPart(part);
    checkSignal(signal);
    this.#ensureNotDisposed();
    features.checkTower(this.tower);
    features.checkPart(part);
    if (this.encoder.projection) {
      features.checkProjector(this.tower, this.encoder.config.channels);
      await features.bringDown();
      return this.#ended(features.tokens(part));
    }
    const projector = this.#needed('projector');
    if (features.projector === undefined) return projectTokens(projector, features, part, signal);
    features.checkProjector(projector.identity, projector.outChannels);
    await features.bringDown();
    return features.tokens(part);
  }

  /**
   * Encodes a video for a question. What does not fit into the context is found out before the first frame is decoded, where the
   * number of frames, and of their tokens, is known only then.
   * @throws as {@link encode} and {@link checkQuestion}
   * @internal
   */
  encodeFor(
    question: string | undefined,
    video: VideoInput,
    options: ChatOptions & { scheduler?: Scheduler } = {},
  ): Promise<VideoFeatures> {
    this.checkQuestion(question, options);
    const { part = 'both', template = this.template, system, contextSize, timestamps } = options;
    const prompt = {
      template,
      ...(system !== undefined && { system }),
      ...(contextSize !== undefined && { contextSize }),
      ...(timestamps !== undefined && { timestamps }),
    };
    const onPlanned = (planned: VideoRuns) => {
      const runs = this.#timed(ofPart(part, planned));
      const tokens = runs.runs.reduce((sum, run) => sum + run.tokens, 0);
      VideoChat.checkFits(this.#needed('llm'), this.#withEnding(tokens), question ?? '?', { ...prompt, runs });
    };
    return this.encoder.encodePlanned(video, { ...options, onPlanned });
  }

  /**
   * Starts a conversation about a video. The video is encoded, unless its features are given, and evaluated once.
   * @throws as {@link encode} and {@link VideoChat.create}
   */
  async chat(video: VideoInput | VideoFeatures, options: ChatOptions = {}): Promise<VideoChat> {
    const given = readOptions(options, chatOptionNames);
    const llm = this.#needed('llm');
    if (!this.encoder.projection) this.#needed('projector');
    const template = given.template ?? this.template;
    resolvePromptTemplate(template);
    checkVideoPart(given.part ?? 'both');
    const features =
      featuresOf(video) ?? (await this.encodeFor(undefined, video as VideoInput, { ...given, template }));
    const embeddings = await this.project(features, given);
    const { system, contextSize, timestamps, signal } = given;
    const chat = await VideoChat.create(llm, embeddings, {
      template,
      runs: this.#timed(features.runsOf(given.part ?? 'both')),
      attention: this.encoder.projection?.attention ?? 'causal',
      ...(timestamps !== undefined && { timestamps }),
      temperature: given.temperature ?? this.#options.temperature,
      ...(system !== undefined && { system }),
      ...(contextSize !== undefined && { contextSize }),
      ...(signal && { signal }),
    });
    if (this.disposed) await chat.dispose();
    this.#ensureNotDisposed();
    for (const old of this.#chats) if (old.disposed) this.#chats.delete(old);
    this.#chats.add(chat);
    return chat;
  }

  /**
   * Asks one question about a video. Unless `contextSize` is given, the context is just large enough for question and answer.
   * @param options `onText` is called with each piece of text as it is generated, and awaited
   * @throws as {@link chat} and {@link VideoChat.ask}
   */
  async ask(
    video: VideoInput | VideoFeatures,
    question: string,
    options: ChatOptions & AskOptions & { onText?: (text: string) => unknown } = {},
  ): Promise<Answer> {
    checkString('question', question);
    const { onText, ...chatOptions } = readOptions(options, [...chatOptionNames, 'onText']);
    if (onText !== undefined) checkFunction('onText', onText);
    const given = { ...chatOptions, ...readAskOptions(options) };
    const features = featuresOf(video) ?? (await this.encodeFor(question, video as VideoInput, given));
    const contextSize = given.contextSize ?? this.requiredContextSize(features, question, given);
    const chat = await this.chat(features, { ...given, contextSize });
    try {
      await chat.ask(question, { ...given, ...(onText && { onText }) });
      return chat.lastAnswer!;
    } finally {
      await chat.dispose();
    }
  }

  /**
   * Checks that a question fits into the context. This is fast: use it before encoding a video, which takes minutes.
   * @param question defaults to the shortest possible question
   * @throws LongVLMError `ERR_LONGVLM_CONTEXT_FULL` when it does not, `ERR_LONGVLM_UNSUPPORTED` when the chat template in the
   *   language model's file cannot be used
   */
  checkQuestion(question = '?', options: PromptOptions = {}): void {
    checkString('question', question);
    const given = readOptions(options, ['part', 'sampling', 'template', 'system', 'contextSize', 'timestamps']);
    const part = given.part ?? 'both';
    const tokens = this.tokenCountOf(part, given.sampling);
    if (tokens === 0)
      throw new RangeError(
        `Expected both or local for part but received '${part}': without globalLayers there are none`,
      );
    VideoChat.checkFits(this.#needed('llm'), tokens, question, {
      ...given,
      runs: this.#timed(this.encoder.expectedRuns(part, given.sampling)),
      template: given.template ?? this.template,
    });
  }

  /**
   * Context size in tokens for one question about a video and its answer. At most the size that the model was trained for: a
   * longer answer is cut off there.
   */
  requiredContextSize(
    encoded: VideoFeatures,
    question: string,
    options: Pick<ChatOptions & AskOptions, 'part' | 'template' | 'system' | 'maxTokens' | 'timestamps'> = {},
  ): number {
    checkString('question', question);
    const features = featuresOf(encoded) ?? wrongType('features', 'VideoFeatures', encoded);
    const given = readOptions(options, ['part', 'template', 'system', 'maxTokens', 'timestamps']);
    const part = given.part ?? 'both';
    const videoTokens = this.#withEnding(features.checkPart(part));
    return VideoChat.requiredContextSize(this.#needed('llm'), videoTokens, question, {
      ...given,
      runs: this.#timed(features.runsOf(part)),
      template: given.template ?? this.template,
    });
  }

  /**
   * Context size in tokens for a conversation about a video and its next answer, at most `contextSize`, which defaults to the size
   * that the model was trained for.
   * @internal
   */
  contextSizeOf(
    features: VideoFeatures,
    conversation: GivenConversation<unknown>,
    { contextSize = this.#needed('llm').trainContextSize, ...options }: ChatOptions & AskOptions,
  ): number {
    const needed = this.requiredContextSize(features, textsOf(conversation), options);
    return Math.min(contextSize, needed + templateTokens * conversation.turns.length);
  }

  /** What the language model is given before its first answer; undefined where none is loaded. @internal */
  promptOf(
    features: VideoFeatures,
    question: string,
    options: Pick<ChatOptions, 'part' | 'template' | 'system' | 'timestamps'>,
  ): PromptDescription[] | undefined {
    const { llm } = this.#loaded;
    const { part = 'both', ...texts } = options;
    const tokens = this.#withEnding(features.checkPart(part));
    const runs = features.runsOf(part);
    return llm && describePrompt(llm, tokens, question, { ...texts, runs, template: texts.template ?? this.template });
  }

  /** Number of tokens of a video that the language model sees: global and local together, and the one that may end a video. */
  get tokenCount(): number {
    return this.tokenCountOf('both');
  }

  /** Number of global tokens, local tokens, or both of a video with that sampling; with `fps`, for a single segment. */
  tokenCountOf(part: VideoPart, sampling?: SamplingRequest): number {
    return this.#withEnding(this.encoder.tokenCountOf(part, sampling));
  }

  /** Frees the vision tower, whose weights are float32 in memory (1.2 GB for ViT-L/14). The next video starts it again. */
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

  /** Runs with how the language model places them in time, where it does. */
  #timed(runs: VideoRuns): VideoRuns {
    const { positionsPerSecond } = this.encoder.projection ?? {};
    return positionsPerSecond === undefined ? runs : { ...runs, positionsPerSecond };
  }

  #withEnding(tokens: number): number {
    return tokens > 0 && this.encoder.ending ? tokens + 1 : tokens;
  }

  /** Embeddings [tokens, width] with the one that ends a video behind them. */
  #ended(tokens: Float32Tensor): Float32Tensor {
    const { ending } = this.encoder;
    if (!ending) return tokens;
    const data = new Float32Array(tokens.data.length + ending.length);
    data.set(tokens.data);
    data.set(ending, tokens.data.length);
    return float32Tensor(data, [tokens.dims[0]! + 1, ending.length]);
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
