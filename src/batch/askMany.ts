import { generateWithCallbacks } from '../base/callbacks.js';
import { readOptions } from '../base/options.js';
import { parse } from '../base/schema.js';
import {
  checkFunction,
  checkInteger,
  checkObject,
  checkSignal,
  checkString,
  isReadable,
  wrongType,
} from '../base/validate.js';
import type { VideoFeatures } from '../encode/videoFeatures.js';
import { LaneScheduler } from '../jobs/laneScheduler.js';
import { LongVLM } from '../longvlm.js';
import { readSettings } from '../service/settings.js';
import type { VideoInput } from '../video/videoInput.js';
import { lanesFor } from './embeddedRunner.js';
import { failureOf } from './failure.js';
import {
  type BatchAnswer,
  type BatchFailure,
  type BatchItem,
  type ItemContext,
  type ItemOptions,
  isFailure,
  itemOptions,
  type QuestionItem,
} from './item.js';
import { withOwn } from './itemSettings.js';
import { QuestionRunner } from './questionRunner.js';
import type { BatchProgress } from './runBatch.js';
import { runItems } from './runItems.js';

/** A question about a video of any kind. */
export type AskItem = {
  readonly video: VideoInput | VideoFeatures;
  readonly question: string;
  /** In place of those of all items. */
  readonly options?: ItemOptions | undefined;
  /** Names the item in its result. Defaults to its number, from 0. */
  readonly id?: string | undefined;
};

/** Options of {@link askMany}. */
export type AskManyOptions = {
  /** Sampling, prompt and answer of all items. What is left out is the model's own. */
  options?: ItemOptions | undefined;
  /** How many videos are worked on at a time. Defaults to `2`. */
  parallel?: number | undefined;
  /** How many questions about one video are. Defaults to `1`: they share what is kept of it. */
  perVideo?: number | undefined;
  /** Called before the first result, and after each. */
  onProgress?: ((progress: BatchProgress) => unknown) | undefined;
  signal?: AbortSignal | null | undefined;
};

/** What comes of an item: its answer or its failure, with its number from 0. */
export type AskResult = (BatchAnswer | BatchFailure) & { readonly index: number };

type Numbered = { readonly index: number; readonly item: QuestionItem };

/**
 * Asks many questions about one video or many, so many at a time, and gives the results as they come: failures are results, too.
 * A video that several items name, by the same text or the same object, is encoded once for those that follow each other, and evaluated
 * once where the language model can forget turns. Leaving the loop ends what is in work.
 *
 * Videos may be in memory, and nothing is written: `runBatch()` is for lists of files that are resumed.
 * @throws TypeError or RangeError for a wrong argument, before anything is done; what every item would fail with, such as
 *   LongVLMError `ERR_LONGVLM_DISPOSED`; `signal.reason`
 * @example
 * ```ts
 * const features = await vlm.encode('talk.mp4');
 * const items = ['What does she solder first?', 'And last?'].map((question) => ({ video: features, question }));
 * for await (const result of askMany(vlm, items)) console.log(result.index, 'answer' in result ? result.answer : result.error);
 * ```
 */
export function askMany(
  vlm: LongVLM,
  items: Iterable<AskItem> | AsyncIterable<AskItem>,
  options: AskManyOptions = {},
): AsyncGenerator<AskResult, void, void> {
  return generateWithCallbacks(checkObject('options', options), ['onProgress'], (guarded) => run(vlm, items, guarded));
}

async function* run(
  vlm: LongVLM,
  given: Iterable<AskItem> | AsyncIterable<AskItem>,
  options: AskManyOptions,
): AsyncGenerator<AskResult, void, void> {
  if (!(vlm instanceof LongVLM)) wrongType('vlm', 'LongVLM', vlm);
  const read = readOptions(options, ['options', 'parallel', 'perVideo', 'onProgress', 'signal']);
  const { parallel = 2, perVideo = 1, onProgress } = read;
  checkInteger('parallel', parallel, 1);
  checkInteger('perVideo', perVideo, 1);
  if (onProgress !== undefined) checkFunction('onProgress', onProgress);
  const common = parse(itemOptions, read.options ?? {}, 'options', 'options.');
  const signal = checkSignal(read.signal);
  signal?.throwIfAborted();
  const videos = new GivenVideos();
  const items: Numbered[] = [];
  for await (const each of given)
    items.push({ index: items.length, item: readItem(each, items.length, videos, common) });
  const scheduler = new LaneScheduler(readSettings({ lanes: lanesFor(parallel) }).lanes, 0).of('questions');
  const runner = new QuestionRunner(vlm, scheduler, parallel, (name) => videos.of(name));
  const answer = (item: BatchItem, context: ItemContext) =>
    runner.answer(item as QuestionItem, context).catch((error: unknown) => failureOf(item.id, error, context.signal));
  try {
    let [done, failed] = [0, 0];
    const report = () => onProgress?.({ stage: 'evaluate', done, total: items.length, unit: 'questions', failed });
    report();
    for await (const { item, result } of runItems(items, ({ item }) => item, answer, { parallel, perVideo, signal })) {
      done++;
      if (isFailure(result)) failed++;
      report();
      yield { ...(result as BatchAnswer | BatchFailure), index: item.index };
    }
  } finally {
    await runner.dispose();
  }
}

/** Videos by a name: those that are named have their own, and those in memory get one. */
class GivenVideos {
  readonly #names = new Map<object, string>();
  readonly #videos = new Map<string, VideoInput | VideoFeatures>();

  nameOf(video: VideoInput | VideoFeatures): string {
    if (typeof video === 'string') return video;
    const known = this.#names.get(video);
    if (known !== undefined) return known;
    // No path holds a zero byte.
    const name = `\0${this.#names.size}`;
    this.#names.set(video, name);
    this.#videos.set(name, video);
    return name;
  }

  of(name: string): VideoInput | VideoFeatures {
    return this.#videos.get(name) ?? name;
  }
}

function readItem(given: AskItem, index: number, videos: GivenVideos, common: ItemOptions): QuestionItem {
  const name = `items[${index}]`;
  const { id = String(index), video, question, options } = checkObject(name, given);
  if (typeof video !== 'string' && !isReadable(video)) wrongType(`${name}.video`, 'video or VideoFeatures', video);
  if (typeof video === 'string') checkString(`${name}.video`, video);
  const own = options === undefined ? undefined : parse(itemOptions, options, `${name}.options`, `${name}.options.`);
  return {
    id: checkString(`${name}.id`, id),
    video: videos.nameOf(video),
    question: checkString(`${name}.question`, question),
    options: withOwn(common, own),
  };
}
