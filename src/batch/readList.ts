// Lists of what a batch asks: videos with questions, or OpenAI's batch files.
import { dirname, resolve } from 'node:path';
import * as v from 'valibot';
import { LongVLMError, messageOf } from '../base/errors.js';
import { hashOf } from '../base/hash.js';
import { parseJsonText } from '../base/json.js';
import { readLines, textOf } from '../base/lines.js';
import { isFolder } from '../base/regularFile.js';
import { jsonObject, nonEmptyString, parse } from '../base/schema.js';
import { type BatchItem, type ItemOptions, itemOptions } from './item.js';
import { videosIn } from './videoFolder.js';

/** A question for all videos of a list. */
export type ListQuestion = {
  readonly id?: string | undefined;
  readonly question: string;
  readonly options?: ItemOptions | undefined;
};

/** Options of {@link readList}. */
export type ReadListOptions = {
  /** Asked about each video that has no question of its own. */
  readonly questions: readonly ListQuestion[];
  /** Whether videos are looked for in folders of the folder, too. */
  readonly recursive: boolean;
  readonly signal?: AbortSignal | undefined;
};

const questionLine = v.object({
  id: v.optional(nonEmptyString),
  question: nonEmptyString,
  options: v.optional(itemOptions),
});
const videoLine = v.object({
  id: v.optional(nonEmptyString),
  video: nonEmptyString,
  question: v.optional(nonEmptyString),
  options: v.optional(itemOptions),
});
const requestLine = v.object({
  custom_id: nonEmptyString,
  method: v.literal('POST'),
  url: v.literal('/v1/chat/completions'),
  body: jsonObject,
});

/** Requests may have the bytes of their videos in them. */
const longestLine = 64 << 20;

/**
 * Reads questions: a line each, or JSON Lines of `{ question, id?, options? }`. Empty lines are ignored.
 * @throws LongVLMError `ERR_LONGVLM_DATASET` for a wrong line, with its number, or a file without questions; `ERR_LONGVLM_FILE`
 */
export async function readQuestions(file: string, signal?: AbortSignal): Promise<ListQuestion[]> {
  const questions: ListQuestion[] = [];
  await eachLine(file, signal, (text, json) => {
    questions.push(json ? parse(questionLine, json(), 'the line') : { question: text.trim() });
  });
  if (questions.length > 0) return questions;
  throw unusable(`${file} holds no questions. Give a file with a question a line.`);
}

/**
 * Reads what is to be asked: a folder of videos; a text file with the path or URL of a video a line; JSON Lines of
 * `{ video, question?, id?, options? }`; or an OpenAI batch file. Paths are relative to the file. What is listed twice is asked once.
 * @throws LongVLMError `ERR_LONGVLM_DATASET` for a wrong line, with its number, a video without a question, an id that stands for
 *   two items, or a list without items; `ERR_LONGVLM_FILE`; `signal.reason`
 */
export async function readList(list: string, { questions, recursive, signal }: ReadListOptions): Promise<BatchItem[]> {
  const items = new Items(questions);
  if (await isFolder(list)) {
    for (const name of await videosIn(list, { recursive, signal })) items.addVideo({ video: name }, resolve(list));
    return items.all(list);
  }
  const folder = dirname(resolve(list));
  await eachLine(list, signal, (text, json) => {
    if (!json) {
      items.addVideo({ video: text }, folder);
      return;
    }
    const value = json();
    if (typeof value === 'object' && value !== null && 'custom_id' in value) {
      const { custom_id, body } = parse(requestLine, value, 'the line');
      items.add({ id: custom_id, body }, true);
    } else items.addVideo(parse(videoLine, value, 'the line'), folder);
  });
  return items.all(list);
}

class Items {
  readonly #questions: readonly ListQuestion[];
  readonly #items = new Map<string, BatchItem>();

  constructor(questions: readonly ListQuestion[]) {
    this.#questions = questions;
  }

  add(item: BatchItem, isNamed: boolean): void {
    const known = this.#items.get(item.id);
    if (known === undefined) this.#items.set(item.id, item);
    else if (isNamed || hashOf(known) !== hashOf(item))
      throw new RangeError(`Expected id that no other item has but received '${item.id}'`);
  }

  addVideo({ id, video: given, question, options }: v.InferOutput<typeof videoLine>, folder: string): void {
    const video = isUrl(given) ? given : resolve(folder, given);
    if (question !== undefined) {
      const of = { video, question, ...(options && { options }) };
      this.add({ id: id ?? nameOf(given, { question, options }), ...of }, id !== undefined);
      return;
    }
    if (this.#questions.length === 0)
      throw new RangeError(`Expected a question for ${given} but received none; give --questions or --question`);
    for (const each of this.#questions) {
      const both = options || each.options ? { options: { ...options, ...each.options } } : {};
      this.add({ id: nameOf(id ?? given, each), video, question: each.question, ...both }, id !== undefined);
    }
  }

  all(list: string): BatchItem[] {
    if (this.#items.size > 0) return [...this.#items.values()];
    throw unusable(`${list} holds nothing to ask. Give a list with a video a line.`);
  }
}

/** The id of a question about a video: it stays what it is when others come before it. */
function nameOf(video: string, { id, question, options }: ListQuestion): string {
  return `${video}#${id ?? hashOf([question, options ?? {}]).slice(0, 8)}`;
}

function isUrl(video: string): boolean {
  // A single letter before the colon is a Windows drive.
  return /^[a-z][a-z0-9+.-]+:\/\//i.test(video);
}

/**
 * Calls `onLine` with each line that is not empty; with a function that parses it if the first of them begins as an object of JSON.
 * @throws LongVLMError `ERR_LONGVLM_DATASET` for what it throws, with the line's number
 */
async function eachLine(
  file: string,
  signal: AbortSignal | undefined,
  onLine: (text: string, json: (() => unknown) | undefined) => void,
): Promise<void> {
  let isJson: boolean | undefined;
  for await (const line of readLines(file, signal, longestLine)) {
    const text = textOf(file, line).replace(/\r$/, '');
    if (text.trim() === '') continue;
    isJson ??= text.trimStart().startsWith('{');
    try {
      onLine(text, isJson ? () => parseJsonText(text) : undefined);
    } catch (error) {
      const message = `${file}, line ${line.number}: ${messageOf(error)}. Correct the line or remove it.`;
      throw new LongVLMError('ERR_LONGVLM_DATASET', message, { cause: error });
    }
  }
}

function unusable(message: string): LongVLMError {
  return new LongVLMError('ERR_LONGVLM_DATASET', message);
}
