import { realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import * as v from 'valibot';
import { LongVLMError, messageOf } from '../base/errors.js';
import { parseJsonText } from '../base/json.js';
import { readLines, textOf } from '../base/lines.js';
import { readOptions } from '../base/options.js';
import { Pace } from '../base/pace.js';
import { PartedMap } from '../base/partedMap.js';
import { printable } from '../base/printable.js';
import { realPathWithin, realRoot } from '../base/root.js';
import { nonEmptyString, parse } from '../base/schema.js';
import { checkInteger, checkSignal, checkString } from '../base/validate.js';

/** A question about a video, with the expected answer. */
export type DatasetEntry = {
  /** Path of the video. */
  readonly video: string;
  readonly question: string;
  /** The same question in other words, to measure consistency. */
  readonly question2?: string;
  readonly answer: string;
  /** Kind of the question: each kind gets its own score. */
  readonly kind: string;
};

/** The questions of an evaluation. */
export type Dataset = { readonly entries: readonly DatasetEntry[] };

/** Options of {@link readDataset}. */
export type ReadDatasetOptions = {
  /** Only reads questions about the first `videos` videos. Defaults to all. */
  videos?: number;
  /**
   * A folder that all videos must be in, for data sets of strangers: others are an error, also where a link leads out of it.
   * Defaults to none: a data set may name any file.
   */
  root?: string;
  signal?: AbortSignal | null;
};

// An answer is compared with what a model says, which takes as long as both are.
const answerText = v.pipe(nonEmptyString, v.maxLength(20_000, 'text of at most 20000 characters'));
const kindText = v.pipe(nonEmptyString, v.maxLength(200, 'text of at most 200 characters'));

const entrySchema = v.object({
  video: nonEmptyString,
  question: nonEmptyString,
  question2: v.optional(nonEmptyString),
  answer: answerText,
  kind: kindText,
});
const datasetSchema = v.object({ entries: v.array(v.unknown()) });
const lineSchema = v.object({
  ...entrySchema.entries,
  question2: v.exactOptional(nonEmptyString),
  kind: v.nullish(kindText, 'other'),
});

/**
 * Reads a data set in JSON Lines. Each line is an object with `video` (a path relative to the file), `question`, `answer`, and
 * optionally `kind` (defaults to `other`) and `question2`. Other keys and empty lines are ignored.
 *
 * @throws LongVLMError `ERR_LONGVLM_DATASET` for an invalid line, with its number, or a video outside of `root`;
 *   `ERR_LONGVLM_FILE` when the file cannot be read or videos are missing (the first 20 are named); TypeError or RangeError for a
 *   wrong option
 * @example
 * ```ts
 * const dataset = await readDataset('questions.jsonl');
 * // {"video": "talk.mp4", "question": "What comes first?", "answer": "A red circle.", "kind": "first"}
 * ```
 */
export async function readDataset(file: string, options: ReadDatasetOptions = {}): Promise<Dataset> {
  checkString('file', file);
  const given = readOptions(options, ['videos', 'root', 'signal']);
  const limit = given.videos === undefined ? Number.POSITIVE_INFINITY : checkInteger('videos', given.videos, 1);
  const signal = checkSignal(given.signal);
  signal?.throwIfAborted();
  const root = given.root === undefined ? undefined : await realRoot(given.root);
  const { entries, videos } = await readEntries(file, limit, root, signal);
  await checkVideos(file, videos, signal);
  return { entries };
}

/** The entries about the first `limit` videos of a file, and these videos. */
async function readEntries(file: string, limit: number, root: string | undefined, signal: AbortSignal | undefined) {
  const given = path.dirname(path.resolve(file));
  // Paths in it are compared with the root's real one.
  const folder = root === undefined ? given : await realpath(given).catch(() => given);
  const entries: DatasetEntry[] = [];
  const videos: string[] = [];
  // One text for all entries about a video, and whether it is among the first.
  const known = new PartedMap<{ readonly video: string; readonly isWanted: boolean }>();
  for await (const line of readLines(file, signal)) {
    const { number } = line;
    const text = textOf(file, line);
    if (text.trim() === '') continue;
    try {
      const entry = parse(lineSchema, parseJsonText(text), 'the line');
      const video = path.resolve(folder, entry.video);
      let found = known.get(video);
      if (!found) {
        if (root !== undefined) await realPathWithin(root, video);
        found = { video, isWanted: videos.length < limit };
        known.set(video, found);
        if (found.isWanted) videos.push(video);
      }
      if (found.isWanted) entries.push({ ...entry, video: found.video });
    } catch (error) {
      throw new LongVLMError(
        'ERR_LONGVLM_DATASET',
        `${file}, line ${number}: ${messageOf(error)}. Correct the line or remove it.`,
        { cause: error },
      );
    }
  }
  if (entries.length > 0) return { entries, videos };
  throw new LongVLMError('ERR_LONGVLM_DATASET', `${file} holds no questions. Give a JSON Lines file with some.`);
}

/** @throws TypeError or RangeError if `dataset` is not a valid data set; `signal.reason` */
export async function checkDataset(dataset: Dataset, signal?: AbortSignal): Promise<void> {
  const { entries } = parse(datasetSchema, dataset, 'dataset', 'dataset.');
  const pace = new Pace();
  for (const [index, entry] of entries.entries()) {
    parse(entrySchema, entry, `dataset.entries[${index}]`, `dataset.entries[${index}].`);
    if (!pace.isDue) continue;
    await pace.rest();
    signal?.throwIfAborted();
  }
}

const mostNamed = 20;

async function checkVideos(file: string, videos: readonly string[], signal: AbortSignal | undefined): Promise<void> {
  const missing: string[] = [];
  for (const video of videos) {
    signal?.throwIfAborted();
    const found = await stat(video).catch(() => undefined);
    if (!found?.isFile()) missing.push(video);
  }
  if (missing.length === 0) return;
  const more = missing.length > mostNamed ? ` and ${missing.length - mostNamed} more` : '';
  throw new LongVLMError(
    'ERR_LONGVLM_FILE',
    `${missing.length} of the ${videos.length} videos in ${file} cannot be found: ${missing.slice(0, mostNamed).map(printable).join(', ')}${more}. Put them there or correct their paths, which are relative to the data set.`,
  );
}
