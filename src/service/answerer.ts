// Answers requests: from the video that a request names to its answer, each step in its lane.
import { LongVLMError } from '../base/errors.js';
import { hashOf } from '../base/hash.js';
import type { Scheduler } from '../base/scheduler.js';
import { featuresIdentity } from '../encode/featuresIdentity.js';
import type { VideoFeatures } from '../encode/videoFeatures.js';
import { videoReport } from '../encode/videoReport.js';
import type { AskOptions } from '../llm/answer.js';
import type { VideoChat } from '../llm/chat.js';
import { textsOf } from '../llm/givenConversation.js';
import type { ChatOptions, LongVLM } from '../longvlm.js';
import type { Answered } from './answering.js';
import { ApiError } from './apiError.js';
import { askOptionsOf } from './askOptions.js';
import type { ChatRequest } from './chatRequest.js';
import { type Conversation, readConversation } from './conversation.js';
import { KeptChats, type Turn } from './keptChats.js';
import { type MediaSources, type NamedVideo, videoOf } from './media.js';
import type { Settings } from './settings.js';
import { readVideoSampling } from './videoSampling.js';

/** A request that is checked as far as it can be without its video. */
export type Prepared = {
  /** Whose it is. */
  readonly client: string;
  readonly conversation: Conversation;
  readonly video: NamedVideo;
  readonly chat: ChatOptions;
  readonly ask: AskOptions;
};

/** Room for further turns in a context that may be kept. */
const laterTokens = 512;

/** Answers about videos with one {@link LongVLM}. */
export class Answerer {
  readonly #vlm: LongVLM;
  readonly #settings: Settings;
  readonly #sources: MediaSources;
  readonly #kept: KeptChats;

  constructor(vlm: LongVLM, settings: Settings, sources: MediaSources, kept = new KeptChats(0)) {
    this.#vlm = vlm;
    this.#settings = settings;
    this.#sources = sources;
    this.#kept = kept;
  }

  /**
   * @param client whose it is: contexts are kept for each by itself. Defaults to nobody in particular
   * @throws ApiError, TypeError or RangeError for a request that cannot be answered
   */
  async prepare(request: ChatRequest, client = ''): Promise<Prepared> {
    const conversation = readConversation(request.messages);
    const { part, timestamps, template } = request.longvlm ?? {};
    const sampling = readVideoSampling(request, this.#vlm.encoder.settle(), this.#settings.maxFrames);
    const chat: ChatOptions = {
      ...{ sampling, limits: this.#settings.limits },
      ...(part !== undefined && { part }),
      ...(timestamps !== undefined && { timestamps }),
      ...(template !== undefined && { template }),
      ...(conversation.system !== undefined && { system: conversation.system }),
    };
    const ask = askOptionsOf(request);
    this.#vlm.checkQuestion(textsOf(conversation), { ...chat, ...this.#contextSize() });
    return { client, conversation, video: await videoOf(conversation.media, this.#sources), chat, ask };
  }

  /**
   * @param onText called with each piece of the answer
   * @throws as {@link LongVLM.ask}; ApiError
   */
  async answer(
    prepared: Prepared,
    scheduler: Scheduler,
    signal: AbortSignal,
    onText?: (text: string) => void,
  ): Promise<Answered> {
    const { conversation, video, chat, ask } = prepared;
    const started = performance.now();
    const features = await this.#features(conversation, video, { ...chat, signal }, scheduler);
    const encoded = performance.now();
    return scheduler.run(
      'answer',
      async () => {
        const begun = performance.now();
        const contextSize = this.#vlm.contextSizeOf(features, conversation, {
          ...chat,
          ...ask,
          ...this.#contextSize(),
        });
        const subject = await subjectOf(features, prepared);
        const { chat: talk, turns: had } =
          (await this.#kept.take(subject, conversation.turns, contextSize)) ??
          (await this.#begin(features, { ...chat, signal }, contextSize));
        let turns: readonly Turn[] | undefined;
        try {
          const cachedTokens = had === undefined ? 0 : talk.usedTokens;
          for (const { question, answer } of conversation.turns.slice(had)) await talk.addTurn(question, answer);
          turns = conversation.turns;
          const before = talk.usedTokens;
          await talk.ask(conversation.question, { ...ask, signal, ...(onText && { onText }) });
          const answer = talk.lastAnswer!;
          const { frames: _, ...sampling } = features.sampling;
          turns = [...conversation.turns, { question: conversation.question, answer: answer.text }];
          return {
            answer,
            promptTokens: before + answer.promptTokens,
            cachedTokens,
            videoTokens: talk.videoTokens,
            used: {
              video: videoReport(features, chat.part),
              sampling,
              warnings: features.source.warnings.map((warning) => hidden(warning, video.paths)),
              timings: {
                encode: Math.round(encoded - started),
                wait: Math.round(begun - encoded),
                firstToken: Math.round(answer.timings.firstToken),
                answer: Math.round(performance.now() - begun),
              },
            },
          };
        } catch (error) {
          // An answer that was broken off has left no trace; after other failures, nobody knows.
          if (!signal.aborted || !talk.canReset) turns = undefined;
          throw error;
        } finally {
          await (turns ? this.#kept.keep(subject, turns, talk) : talk.dispose());
        }
      },
      signal,
    );
  }

  /** A chat that has the video alone. */
  async #begin(
    features: VideoFeatures,
    options: ChatOptions,
    needed: number,
  ): Promise<{ chat: VideoChat; turns?: number }> {
    const most = this.#settings.contextSize ?? this.#vlm.models.llm!.trainContextSize;
    const contextSize = this.#kept.keepsAny ? Math.min(most, needed + laterTokens) : needed;
    try {
      return { chat: await this.#vlm.chat(features, { ...options, contextSize }) };
    } catch (error) {
      // There may be no room beside contexts that are kept.
      if (!(error instanceof LongVLMError && error.code === 'ERR_LONGVLM_LLM') || this.#kept.count === 0) throw error;
      await this.#kept.clear();
      return { chat: await this.#vlm.chat(features, { ...options, contextSize: needed }) };
    }
  }

  async #features(
    conversation: Conversation,
    { input, paths }: NamedVideo,
    options: ChatOptions,
    scheduler: Scheduler,
  ): Promise<VideoFeatures> {
    const given = { ...options, ...this.#contextSize(), scheduler };
    try {
      return await this.#vlm.encodeFor(textsOf(conversation), input, given);
    } catch (error) {
      if (!(error instanceof LongVLMError)) throw error;
      throw new LongVLMError(error.code, hidden(error.message, paths), { cause: error });
    }
  }

  #contextSize() {
    const { contextSize } = this.#settings;
    return contextSize !== undefined && { contextSize };
  }
}

/** All that is evaluated before the first question, and whose it is. */
async function subjectOf(features: VideoFeatures, { client, chat }: Prepared): Promise<string> {
  const { part, timestamps, template, system } = chat;
  return hashOf({ client, part, timestamps, template, system, features: await featuresIdentity(features) });
}

/** A text without paths of this machine. */
export function hidden(text: string, paths: readonly string[]): string {
  return paths.reduce((rest, path) => rest.replaceAll(path, 'video'), text);
}

/** The name that requests ask a model by. */
export function modelName(vlm: LongVLM): string {
  return vlm.preset ?? vlm.models.llm?.name ?? 'longvlm';
}

/** @throws ApiError for a model that is not this one */
export function checkModelName(asked: string | null | undefined, name: string): void {
  if (asked !== undefined && asked !== null && asked !== name)
    throw new ApiError(404, `There is no model '${asked.slice(0, 100)}' here. Ask ${name}.`, {
      param: 'model',
      code: 'model_not_found',
    });
}
