import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import * as v from 'valibot';
import { LongVLMError, messageOf } from '../base/errors.js';
import { fileError } from '../base/fileError.js';
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
  signal?: AbortSignal;
};

const entrySchema = v.object({
  video: nonEmptyString,
  question: nonEmptyString,
  question2: v.optional(nonEmptyString),
  answer: nonEmptyString,
  kind: nonEmptyString,
});
const datasetSchema = v.object({ entries: v.array(entrySchema) });
const lineSchema = v.object({
  ...entrySchema.entries,
  question2: v.exactOptional(nonEmptyString),
  kind: v.nullish(nonEmptyString, 'other'),
});

/**
 * Reads a data set in JSON Lines. Each line is an object with `video` (a path relative to the file), `question`, `answer`, and
 * optionally `kind` (defaults to `other`) and `question2`. Other keys and empty lines are ignored.
 *
 * @throws LongVLMError `ERR_LONGVLM_DATASET` for an invalid line, with its number; `ERR_LONGVLM_FILE` when the file cannot be
 *   read or videos are missing (all are named at once); TypeError or RangeError for a wrong option
 * @example
 * ```ts
 * const dataset = await readDataset('questions.jsonl');
 * // {"video": "talk.mp4", "question": "What comes first?", "answer": "A red circle.", "kind": "first"}
 * ```
 */
export async function readDataset(file: string, options: ReadDatasetOptions = {}): Promise<Dataset> {
  checkString('file', file);
  const limit = options.videos === undefined ? Number.POSITIVE_INFINITY : checkInteger('videos', options.videos, 1);
  const signal = checkSignal(options.signal);
  signal?.throwIfAborted();
  const bytes = await readFile(file, { signal }).catch((error: unknown) => {
    signal?.throwIfAborted();
    throw fileError(file, error);
  });
  const entries = parseLines(file, bytes);
  const videos = new Set([...new Set(entries.map(({ video }) => video))].slice(0, limit));
  await checkVideos(file, videos);
  signal?.throwIfAborted();
  return { entries: entries.filter(({ video }) => videos.has(video)) };
}

function parseLines(file: string, bytes: Uint8Array): DatasetEntry[] {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new LongVLMError('ERR_LONGVLM_DATASET', `${file} is no UTF-8 text. Give a JSON Lines file.`, {
      cause: error,
    });
  }
  const folder = path.dirname(path.resolve(file));
  const entries = text.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return [];
    try {
      return [parseEntry(line, folder)];
    } catch (error) {
      throw new LongVLMError(
        'ERR_LONGVLM_DATASET',
        `${file}, line ${index + 1}: ${messageOf(error)}. Correct the line or remove it.`,
        { cause: error },
      );
    }
  });
  if (entries.length > 0) return entries;
  throw new LongVLMError('ERR_LONGVLM_DATASET', `${file} holds no questions. Give a JSON Lines file with some.`);
}

function parseEntry(line: string, folder: string): DatasetEntry {
  const entry = parse(lineSchema, JSON.parse(line), 'the line');
  return { ...entry, video: path.resolve(folder, entry.video) };
}

/** @throws TypeError or RangeError if `dataset` is not a valid data set */
export function checkDataset(dataset: Dataset): void {
  parse(datasetSchema, dataset, 'dataset', 'dataset.');
}

const mostNamed = 20;

async function checkVideos(file: string, videos: ReadonlySet<string>): Promise<void> {
  const missing: string[] = [];
  for (const video of videos) {
    const found = await stat(video).catch(() => undefined);
    if (!found?.isFile()) missing.push(video);
  }
  if (missing.length === 0) return;
  const more = missing.length > mostNamed ? ` and ${missing.length - mostNamed} more` : '';
  throw new LongVLMError(
    'ERR_LONGVLM_FILE',
    `${missing.length} of the ${videos.size} videos in ${file} cannot be found: ${missing.slice(0, mostNamed).join(', ')}${more}. Put them there or correct their paths, which are relative to the data set.`,
  );
}
