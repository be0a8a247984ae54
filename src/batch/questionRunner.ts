// Answers questions about videos. A video is encoded once for questions that follow each other, and the language model evaluates it
// once where it can forget turns.
import type { OnProgress } from '../base/progress.js';
import type { Scheduler } from '../base/scheduler.js';
import { SharedWork } from '../cache/sharedWork.js';
import type { SamplingRequest } from '../encode/sampling.js';
import { featuresOf, VideoFeatures } from '../encode/videoFeatures.js';
import { videoReport } from '../encode/videoReport.js';
import type { VideoChat } from '../llm/chat.js';
import type { LongVLM } from '../longvlm.js';
import type { VideoInput } from '../video/videoInput.js';
import type { BatchAnswer, ItemContext, QuestionItem } from './item.js';
import { type ItemSettings, settingsOf } from './itemSettings.js';

type IdleChat = {
  readonly features: VideoFeatures;
  readonly prompt: string;
  readonly contextSize: number;
  readonly chat: VideoChat;
};

/** Contexts are made in these steps, in tokens, so that the next question finds room in the last one's. */
const contextStep = 256;

type VideoOf = (video: string) => VideoInput | VideoFeatures;

export class QuestionRunner {
  readonly #vlm: LongVLM;
  readonly #scheduler: Scheduler;
  /** How many videos are kept. */
  readonly #most: number;
  readonly #encoding = new SharedWork();
  /** The last used last. */
  readonly #features = new Map<string, VideoFeatures>();
  readonly #idle: IdleChat[] = [];
  readonly #videoOf: VideoOf;

  /** @param videoOf what the video of an item stands for. Defaults to the file or URL that it names. */
  constructor(vlm: LongVLM, scheduler: Scheduler, most: number, videoOf: VideoOf = (video) => video) {
    this.#vlm = vlm;
    this.#scheduler = scheduler;
    this.#most = most;
    this.#videoOf = videoOf;
  }

  /** @throws as {@link LongVLM.ask} */
  async answer(item: QuestionItem, { signal, onProgress }: ItemContext): Promise<BatchAnswer> {
    const settings = settingsOf(item.options);
    const started = performance.now();
    const features = await this.#featuresOf(item, settings, { signal, onProgress });
    const encoded = performance.now();
    return this.#scheduler.run(
      'answer',
      async () => {
        const begun = performance.now();
        const { chat, ...kept } = await this.#chatAbout(features, item.question, settings, signal);
        let isWhole = false;
        try {
          const before = chat.usedTokens;
          await chat.ask(item.question, { ...settings.ask, signal });
          isWhole = true;
          const { text, tokenIds, stopReason, promptTokens } = chat.lastAnswer!;
          const { frames, segments, duration } = videoReport(features, settings.prompt.part);
          return {
            id: item.id,
            answer: text,
            stopReason,
            usage: {
              promptTokens: before + promptTokens,
              videoTokens: chat.videoTokens,
              answerTokens: tokenIds.length,
            },
            sampled: { frames, segments, durationSeconds: duration },
            warnings: features.source.warnings,
            timings: {
              encode: Math.round(encoded - started),
              wait: Math.round(begun - encoded),
              answer: Math.round(performance.now() - begun),
            },
          };
        } finally {
          if (isWhole && chat.canReset) await this.#keep({ chat, ...kept });
          else await chat.dispose();
        }
      },
      signal,
    );
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#idle.splice(0).map(({ chat }) => chat.dispose()));
    this.#features.clear();
  }

  async #featuresOf(
    item: QuestionItem,
    { sampling, prompt, contextSize }: ItemSettings,
    context: ItemContext,
  ): Promise<VideoFeatures> {
    const key = JSON.stringify([item.video, sampling]);
    const known = this.#features.get(key);
    const encode = (signal: AbortSignal, onProgress: OnProgress) => {
      const fitting = { ...prompt, ...(contextSize !== undefined && { contextSize }) };
      return this.#encode(item, sampling, fitting, { signal, onProgress });
    };
    const features = known ?? (await this.#encoding.run(key, encode, context));
    this.#features.delete(key);
    this.#features.set(key, features);
    const [oldest] = this.#features.keys();
    if (this.#features.size > this.#most) this.#features.delete(oldest!);
    return features;
  }

  async #encode(
    { video, question }: QuestionItem,
    sampling: SamplingRequest,
    fitting: object,
    { signal, onProgress }: ItemContext,
  ): Promise<VideoFeatures> {
    const input = this.#videoOf(video);
    const features = featuresOf(input);
    if (features) return features;
    if (video.endsWith('.safetensors')) return VideoFeatures.load(video, { tower: this.#vlm.tower });
    const scheduler = this.#scheduler;
    return this.#vlm.encodeFor(question, input as VideoInput, { ...fitting, sampling, scheduler, signal, onProgress });
  }

  /** A conversation about a video that has no turns. */
  async #chatAbout(
    features: VideoFeatures,
    question: string,
    { prompt: given, contextSize: asked, ask }: ItemSettings,
    signal: AbortSignal,
  ): Promise<IdleChat> {
    const vlm = this.#vlm;
    const needed = asked ?? vlm.requiredContextSize(features, question, { ...given, ...maxTokensOf(ask) });
    const prompt = JSON.stringify(given);
    const place = this.#idle.findIndex((idle) => {
      const hasRoom = asked === undefined ? idle.contextSize >= needed : idle.contextSize === asked;
      return idle.features === features && idle.prompt === prompt && hasRoom;
    });
    if (place >= 0) {
      const [idle] = this.#idle.splice(place, 1);
      await idle!.chat.reset();
      return idle!;
    }
    const rounded = Math.ceil(needed / contextStep) * contextStep;
    const contextSize = asked ?? Math.max(needed, Math.min(rounded, vlm.models.llm!.trainContextSize));
    const chat = await vlm.chat(features, { ...given, contextSize, signal });
    return { chat, features, prompt, contextSize };
  }

  async #keep(idle: IdleChat): Promise<void> {
    this.#idle.push(idle);
    if (this.#idle.length > this.#most) await this.#idle.shift()!.chat.dispose();
  }
}

function maxTokensOf({ maxTokens }: ItemSettings['ask']) {
  return maxTokens !== undefined && { maxTokens };
}
