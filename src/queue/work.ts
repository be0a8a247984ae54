// What is done for a job.
import type { Progress } from '../base/progress.js';
import type { BatchFailure, BatchRunner } from '../batch/item.js';
import { readItem } from '../batch/item.js';
import { videoReport } from '../encode/videoReport.js';
import type { LaneScheduler } from '../jobs/laneScheduler.js';
import type { LongVLM } from '../longvlm.js';
import { Answerer } from '../service/answerer.js';
import { KeptChats } from '../service/keptChats.js';
import { videoOf } from '../service/media.js';
import type { Settings } from '../service/settings.js';
import { readVideoSampling } from '../service/videoSampling.js';
import { allowedItem, mayPassItem } from './items.js';
import type { CheckedJob } from './jobs.js';
import type { Uploads } from './uploads.js';

/** An item failed, but may not the next time. */
export class ItemFailed extends Error {
  constructor(readonly result: BatchFailure) {
    super(result.error.message);
  }
}

/** How a job is done. */
export type AtWork = {
  readonly signal: AbortSignal;
  readonly onText: (text: string) => void;
  readonly onProgress: (progress: Progress) => void;
};

/** Does jobs with one {@link LongVLM}. */
export class Work {
  readonly #vlm: LongVLM;
  readonly #settings: Settings;
  readonly #scheduler: LaneScheduler;
  readonly #uploads: Uploads;
  readonly #folders: readonly string[];
  readonly #answerer: Answerer;
  readonly #kept: KeptChats;
  readonly #items: BatchRunner;

  /** @param folders real paths of those that jobs may name files of */
  constructor(
    vlm: LongVLM,
    settings: Settings,
    scheduler: LaneScheduler,
    uploads: Uploads,
    folders: readonly string[],
    items: BatchRunner,
  ) {
    this.#vlm = vlm;
    this.#settings = settings;
    this.#scheduler = scheduler;
    this.#uploads = uploads;
    this.#folders = folders;
    this.#items = items;
    this.#kept = new KeptChats(settings.contextMemory);
    this.#answerer = new Answerer(vlm, settings, { folders, files: uploads }, this.#kept);
  }

  /** @returns the value of the result @throws what the job fails with; `signal.reason` */
  do(job: CheckedJob, at: AtWork): Promise<unknown> {
    if (job.kind === 'ask') return this.#ask(job, at);
    return job.kind === 'encode' ? this.#encode(job, at) : this.#item(job, at);
  }

  /** Frees what was kept for further jobs, once none is in work. */
  async dispose(): Promise<void> {
    await Promise.all([this.#kept.dispose(), this.#items.dispose()]);
  }

  async #item({ item }: Extract<CheckedJob, { kind: 'item' }>, { signal, onProgress }: AtWork): Promise<unknown> {
    const allowed = await allowedItem(readItem(item), this.#folders, this.#settings);
    const result = await this.#items.run(allowed, { signal, onProgress });
    if (mayPassItem(result)) throw new ItemFailed(result as BatchFailure);
    return result;
  }

  async #ask(job: Extract<CheckedJob, { kind: 'ask' }>, at: AtWork): Promise<unknown> {
    const { signal, onText, onProgress } = at;
    const { request, dispose } = await this.#uploads.take(job.request, signal);
    try {
      const prepared = await this.#answerer.prepare(request, job.client);
      const told = { ...prepared, chat: { ...prepared.chat, onProgress } };
      return await this.#answerer.answer(told, this.#scheduler.of(job.client), signal, onText);
    } finally {
      await dispose();
    }
  }

  async #encode(job: Extract<CheckedJob, { kind: 'encode' }>, { signal, onProgress }: AtWork): Promise<unknown> {
    const part = { type: 'video_url', video_url: { url: job.video } } as const;
    const { request, dispose } = await this.#uploads.take({ messages: [{ role: 'user', content: [part] }] }, signal);
    try {
      const { content } = request.messages[0]!;
      const { input } = await videoOf(content as [typeof part], { folders: this.#folders, files: this.#uploads });
      const defaults = this.#vlm.encoder.settle();
      const sampling = readVideoSampling({ longvlm: job.sampling }, defaults, this.#settings.maxFrames);
      const features = await this.#vlm.encoder.encodePlanned(input, {
        ...{ sampling, limits: this.#settings.limits, signal, onProgress },
        scheduler: this.#scheduler.of(job.client),
      });
      return videoReport(features);
    } finally {
      await dispose();
    }
  }
}
