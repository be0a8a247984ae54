// A result as a line of a results file. Its key tells the item and the model that it is of, so that the file alone says what is done.
import * as v from 'valibot';
import { hashOf } from '../base/hash.js';
import { parseJsonText } from '../base/json.js';
import { nonEmptyString, parse } from '../base/schema.js';
import { type BatchFailure, type BatchItem, type BatchResult, isRequest } from './item.js';

/** Results of questions are in our own form, those of requests in that of OpenAI's batches. */
export type ResultForm = 'questions' | 'requests';

/** What of a line decides what is left to do. */
export type KnownResult = {
  readonly form: ResultForm;
  /** Stands for the item. */
  readonly item: string;
  /** Stands for the model, and for the options that all items have. */
  readonly model: string;
  readonly id: string;
  /** Why the item failed; undefined where it was answered. */
  readonly failure: string | undefined;
};

const keyPattern = /^(?:batch_req_)?([0-9a-f]{32})-([0-9a-f]{16})$/;
const keyText = v.pipe(v.string(), v.regex(keyPattern, 'key of a result'));
const questionLine = v.object({
  id: nonEmptyString,
  key: keyText,
  error: v.optional(v.object({ message: v.string() })),
});
const requestLine = v.object({
  id: keyText,
  custom_id: nonEmptyString,
  response: v.nullable(v.object({ status_code: v.number(), body: v.object({}) })),
  error: v.nullable(v.object({ message: v.string() })),
});

/** What stands for an item in keys. */
export function itemKey(item: BatchItem): string {
  return hashOf(
    isRequest(item) ? [item.id, item.body] : [item.id, item.video, item.question, item.options ?? {}],
  ).slice(0, 32);
}

/** What stands for a model and the options of all items in keys. */
export function modelKey(identity: string, options: object): string {
  return hashOf([identity, options]).slice(0, 16);
}

/** The line of a result, without its line break. */
export function resultLine(item: BatchItem, result: BatchResult, key: string): string {
  if (isRequest(item)) {
    const { status, body } = responseIn(result);
    const response = { status_code: status, request_id: `req_${key}`, body };
    return JSON.stringify({ id: `batch_req_${key}`, custom_id: item.id, response, error: null });
  }
  const { id, ...rest } = result;
  const { video, question } = item;
  return JSON.stringify({ id, video, question, ...rest, key });
}

function responseIn(result: BatchResult) {
  if ('response' in result && result.response) return result.response;
  const { message, code } = (result as BatchFailure).error;
  return { status: 500, body: { error: { message, type: 'server_error', param: null, code } } };
}

/** @throws TypeError, RangeError or SyntaxError for what is no result */
export function readResultLine(text: string): KnownResult {
  const value = parseJsonText(text);
  const isQuestion = typeof value === 'object' && value !== null && !('custom_id' in value);
  if (isQuestion) {
    const { id, key, error } = parse(questionLine, value, 'the line');
    return { form: 'questions', ...partsOf(key), id, failure: error?.message };
  }
  const { id: key, custom_id: id, response, error } = parse(requestLine, value, 'the line');
  const isAnswered = error === null && response?.status_code === 200;
  const told = error?.message ?? (response?.body as { error?: { message?: unknown } } | undefined)?.error?.message;
  return {
    form: 'requests',
    ...partsOf(key),
    id,
    failure: isAnswered ? undefined : String(told ?? 'no reason is told'),
  };
}

function partsOf(key: string) {
  const [, item, model] = keyPattern.exec(key)!;
  return { item: item!, model: model! };
}
