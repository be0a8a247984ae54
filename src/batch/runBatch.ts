import { linkedController } from '../base/abort.js';
import { generateWithCallbacks } from '../base/callbacks.js';
import { readOptions } from '../base/options.js';
import type { Progress } from '../base/progress.js';
import { parse } from '../base/schema.js';
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkSignal,
  checkString,
  isCallable,
  wrongType,
  wrongValue,
} from '../base/validate.js';
import type { LongVLM } from '../longvlm.js';
import { type EmbeddedRunnerOptions, embeddedRunner } from './embeddedRunner.js';
import {
  type BatchItem,
  type BatchResult,
  type BatchRunner,
  type ItemOptions,
  isFailure,
  isRequest,
  itemOptions,
  readItem,
} from './item.js';
import { withOwn } from './itemSettings.js';
import { itemKey, modelKey, type ResultForm, resultLine } from './resultLine.js';
import { ResultsFile } from './resultsFile.js';
import { runItems } from './runItems.js';

/** Progress of a batch: stage `evaluate`, unit `questions`. `done` counts all items with a result, also those of earlier runs. */
export type BatchProgress = Progress & {
  /** How many of these have failed. */
  readonly failed: number;
};

/** Options of {@link runBatch}. */
export type BatchOptions = {
  /** Answers the items; or give a `runner`. */
  vlm?: LongVLM | undefined;
  /** Answers the items in place of `vlm`, such as on other machines. It stays the caller's, who disposes it. */
  runner?: BatchRunner | undefined;
  /** Options of all questions. An item's own replace them. */
  options?: ItemOptions | undefined;
  /** What requests may do, with `vlm`. By default they name no files of this machine, and public addresses alone. */
  requests?: EmbeddedRunnerOptions['requests'];
  /**
   * A file that results are appended to, a line of JSON each, before they are given: each is on the disk then. If it exists, items
   * with a result in it are not asked again. Until the loop ends, no other batch can use it. Defaults to none.
   */
  output?: string | undefined;
  /** Asks the items again that failed in an earlier run: their lines are removed from `output` first. Defaults to `false`. */
  retry?: boolean | undefined;
  /** Removes lines from `output` that are of another model or other options; without it they are an error. Defaults to `false`. */
  force?: boolean | undefined;
  /**
   * How many videos are worked on at a time: the next is fetched, read and encoded while one is answered. Defaults to `2`; with a
   * `runner`, how many items are handed to it.
   */
  parallel?: number | undefined;
  /** How many items of one video are in work at a time. Defaults to `1`: they share what is kept of it. */
  perVideo?: number | undefined;
  /** Called before the first result, and after each. */
  onProgress?: ((progress: BatchProgress) => unknown) | undefined;
  signal?: AbortSignal | null | undefined;
};

type Numbered = { readonly item: BatchItem; readonly key: string };

/**
 * Asks a model about many videos, and gives the results as they come, failures among them. Items of one video follow each other, and
 * share its encoding.
 *
 * The loop can be left, the signal aborted, or the process killed at any time: with the same `output`, items, model and options, the
 * next call asks what is left. No item gets two results in `output`. An item is known by its id, video (its name, not its content),
 * question and options.
 *
 * @param items questions about videos, or bodies of `POST /v1/chat/completions`; of one kind where there is an `output`. Each has an
 *   id of its own.
 * @throws TypeError or RangeError for a wrong argument; LongVLMError `ERR_LONGVLM_MISMATCH` for an `output` of another model or with
 *   other options, `ERR_LONGVLM_DATASET` for one that holds something else, `ERR_LONGVLM_FILE` for one that cannot be written, or that
 *   another batch uses; what every item would fail with: `ERR_LONGVLM_ADDON`, `ERR_LONGVLM_FFMPEG_MISSING`, `ERR_LONGVLM_DISPOSED`;
 *   `signal.reason`
 * @example
 * ```ts
 * const vlm = await LongVLM.load();
 * const items = ['a.mp4', 'b.mp4'].map((video) => ({ id: video, video, question: 'What happens last?' }));
 * for await (const result of runBatch(items, { vlm, output: 'results.jsonl' }))
 *   console.log(result.id, 'answer' in result ? result.answer : result);
 * ```
 */
export function runBatch(
  items: Iterable<BatchItem> | AsyncIterable<BatchItem>,
  options: BatchOptions,
): AsyncGenerator<BatchResult, void, void> {
  return generateWithCallbacks(options, ['onProgress'], (guarded) => run(items, guarded));
}

async function* run(
  given: Iterable<BatchItem> | AsyncIterable<BatchItem>,
  options: BatchOptions,
): AsyncGenerator<BatchResult, void, void> {
  const { runner: own, vlm, requests, onProgress, signal, ...settings } = readBatchOptions(options);
  signal?.throwIfAborted();
  const items = await readItems(given);
  const { output, parallel, perVideo, retry, force } = settings;
  const form = output === undefined ? undefined : formOf(items.map(({ item }) => item));
  const runner = own ?? (await embeddedRunner(vlm!, { parallel, requests }));
  const { controller, unlink } = linkedController(signal);
  let file: ResultsFile | undefined;
  try {
    const model = modelKey(runner.identity, form === 'requests' ? {} : settings.options);
    if (output !== undefined) file = await ResultsFile.open(output, { form: form!, model, retry, force });
    const known = file?.known ?? new Map<string, string | undefined>();
    file?.whenLost((error) => controller.abort(error));
    const left = items.filter(({ key }) => !known.has(key));
    const earlier = items.filter(({ key }) => known.has(key));
    let done = earlier.length;
    let failed = earlier.filter(({ key }) => known.get(key) !== undefined).length;
    const report = () => onProgress?.({ stage: 'evaluate', done, total: items.length, unit: 'questions', failed });
    report();
    const asRun = ({ item }: Numbered): BatchItem =>
      isRequest(item) ? item : { ...item, options: withOwn(settings.options, item.options) };
    const finished = runItems(left, asRun, runner.run, { parallel, perVideo, signal: controller.signal });
    for await (const { item, result } of finished) {
      await file?.append(resultLine(item.item, result, `${item.key}-${model}`));
      done++;
      if (isFailure(result)) failed++;
      report();
      yield result;
    }
  } finally {
    unlink();
    await file?.close();
    if (own === undefined) await runner.dispose();
  }
}

function readBatchOptions(options: BatchOptions) {
  const names = ['vlm', 'runner', 'options', 'requests', 'output', 'retry', 'force', 'parallel', 'perVideo'] as const;
  const read = readOptions(options, [...names, 'onProgress', 'signal']);
  const { runner, vlm, requests, output, retry = false, force = false, parallel = 2, perVideo = 1, onProgress } = read;
  if (runner !== undefined && !isCallable((runner as Partial<BatchRunner>).run))
    wrongType('runner', 'BatchRunner', runner);
  if ((runner === undefined) === (vlm === undefined)) wrongType('vlm', 'LongVLM, or a runner in its place,', vlm);
  if (output !== undefined) checkString('output', output);
  checkBoolean('retry', retry);
  checkBoolean('force', force);
  checkInteger('parallel', parallel, 1);
  checkInteger('perVideo', perVideo, 1);
  if (onProgress !== undefined) checkFunction('onProgress', onProgress);
  return {
    ...{ runner, vlm, requests, output, retry, force, parallel, perVideo, onProgress },
    options: parse(itemOptions, read.options ?? {}, 'options', 'options.'),
    signal: checkSignal(read.signal),
  };
}

/** Items with what stands for them in keys. @throws TypeError or RangeError for an item that is wrong, or has the id of another */
async function readItems(given: Iterable<BatchItem> | AsyncIterable<BatchItem>): Promise<Numbered[]> {
  const items: Numbered[] = [];
  const ids = new Set<string>();
  for await (const each of given) {
    const name = `items[${items.length}]`;
    const item = readItem(each, name);
    if (ids.has(item.id)) wrongValue(`${name}.id`, 'id that no other item has', item.id);
    ids.add(item.id);
    items.push({ item, key: itemKey(item) });
  }
  return items;
}

function formOf(items: readonly BatchItem[]): ResultForm {
  const requests = items.filter(isRequest).length;
  if (requests > 0 && requests < items.length)
    throw new TypeError('Expected items of one kind, as there is an output, but received questions and requests');
  return requests > 0 ? 'requests' : 'questions';
}
