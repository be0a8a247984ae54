// What is in a queue: jobs, their results, and messages about them. All of it is checked by whoever takes it out, as anyone who
// reaches the server may have put it in.
import * as v from 'valibot';
import { finiteNumber, integer, jsonObject, nonEmptyString, number, parse } from '../base/schema.js';
import type { VideoRun } from '../base/videoRun.js';
import type { BatchItem, BatchResult } from '../batch/item.js';
import type { Answered } from '../service/answering.js';
import { chatRequest } from '../service/chatRequest.js';

const text = (most: number) => v.pipe(v.string('string'), v.maxLength(most, `at most ${most}`));
const name = v.pipe(nonEmptyString, v.maxLength(200));

const common = {
  /** Whom it is for, in no words of theirs. */
  client: name,
  /** Who takes its messages. */
  inbox: name,
};

const askJob = v.object({ kind: v.literal('ask'), request: chatRequest, ...common });
const encodeJob = v.object({
  kind: v.literal('encode'),
  /** URL of the video. */
  video: nonEmptyString,
  sampling: chatRequest.entries.longvlm,
  ...common,
});
const itemJob = v.object({ kind: v.literal('item'), item: jsonObject, ...common });
const anyJob = v.variant('kind', [askJob, encodeJob, itemJob], 'job of kind ask, encode or item');

/** A question about a video, as a request for a chat completion. It ends when its inbox is gone. */
export type AskJob = v.InferInput<typeof askJob>;
/** A video that is to be in the store of features. */
export type EncodeJob = v.InferInput<typeof encodeJob>;
/** An item of a batch. It goes on when its client is gone, who may come back. */
export type ItemJob = {
  readonly kind: 'item';
  readonly item: BatchItem;
  readonly client: string;
  readonly inbox: string;
};
export type Job = AskJob | EncodeJob | ItemJob;
/** A job that was checked; its item is not. */
export type CheckedJob = v.InferOutput<typeof anyJob>;

/** @throws TypeError or RangeError for what is no job */
export function readJob(value: unknown): CheckedJob {
  return parse(anyJob, value, 'job');
}

/** Jobs of smaller numbers come first; 0 before all others. */
export const priorities = { ask: 0, encode: 5, item: 10 } as const;

// Told to nobody, as it is.
const anyRun = v.custom<VideoRun>((run) => typeof run === 'object' && run !== null, 'object');
const answered = v.object({
  answer: v.object({
    text: v.string(),
    tokenIds: v.array(integer(0)),
    stopReason: v.picklist(['endOfAnswer', 'maxTokens', 'stop', 'contextFull', 'left']),
    video: v.object({ runs: v.array(anyRun) }),
    promptTokens: integer(0),
    evaluatedTokens: integer(0),
    timings: v.object({ firstToken: number(0), total: number(0) }),
  }),
  promptTokens: integer(0),
  cachedTokens: integer(0),
  videoTokens: integer(0),
  used: jsonObject,
});

/** What went wrong, as the service tells it. */
const failure = v.object({
  status: integer(400, 599),
  message: text(10_000),
  param: v.nullish(text(200)),
  code: v.nullish(text(200)),
});
export type Failure = v.InferOutput<typeof failure>;

/** What became of a job. */
export type JobResult = { readonly value: unknown } | { readonly failure: Failure };

/** @throws TypeError or RangeError for what is no result */
export function readResult(value: unknown): JobResult {
  const failed = v.safeParse(v.object({ failure }), value);
  return failed.success ? failed.output : parse(v.object({ value: v.unknown() }), value, 'result of the job');
}

/** @throws TypeError or RangeError for what is no answer */
export function readAnswered(value: unknown): Answered {
  return parse(answered, value, 'answer of the job');
}

const response = v.object({ status: integer(100, 599), body: jsonObject });
const batchError = v.object({ code: name, message: v.string(), canRetry: v.boolean() });
const batchResult = v.union(
  [
    v.object({ id: v.string(), error: batchError, response: v.optional(response) }),
    v.object({ id: v.string(), response }),
    v.looseObject({ id: v.string(), answer: v.string(), stopReason: v.string() }),
  ],
  'answer, response or error',
);

/** @throws TypeError or RangeError for what is no result of the item */
export function readBatchResult(value: unknown, id: string): BatchResult {
  const read = parse(batchResult, value, 'result of the item');
  if (read.id !== id) throw new RangeError(`Expected result of the item '${id}' but received that of another`);
  return read as BatchResult;
}

const progress = v.object({
  stage: v.picklist(['download', 'convert', 'load', 'fetch', 'probe', 'encode', 'evaluate']),
  done: finiteNumber,
  total: finiteNumber,
  unit: v.picklist(['bytes', 'tensors', 'share', 'frames', 'questions']),
});
const message = v.variant('kind', [
  v.object({ kind: v.literal('begun'), job: name }),
  /** A piece of the answer, and how many characters are before it. */
  v.object({ kind: v.literal('text'), job: name, at: integer(0), text: v.string() }),
  v.object({ kind: v.literal('progress'), job: name, progress }),
  v.object({ kind: v.literal('ended'), job: name }),
]);
/** What a worker tells the client of a job while it is at it. */
export type Message = v.InferOutput<typeof message>;

/** A message; undefined for anything else. */
export function readMessage(value: string): Message | undefined {
  try {
    const read = v.safeParse(message, JSON.parse(value));
    return read.success ? read.output : undefined;
  } catch {
    return undefined;
  }
}
