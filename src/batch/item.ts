// What a batch asks and what comes of it: plain JSON both ways, so that another process or machine can do the work.
import * as v from 'valibot';
import type { OnProgress } from '../base/progress.js';
import { integer, jsonObject, nonEmptyString, number, parse } from '../base/schema.js';
import type { StopReason } from '../llm/answer.js';
import { ownOptions } from '../service/chatRequest.js';

/** The options of a question, each named as in the library. */
export const itemOptions = v.strictObject({
  ...ownOptions.entries,
  reductionOptions: v.optional(
    v.record(v.string(), v.union([v.number(), v.string(), v.boolean()], 'number, string or boolean')),
  ),
  system: v.optional(v.string()),
  contextSize: v.optional(integer(16)),
  maxTokens: v.optional(integer(1)),
  temperature: v.optional(number(0)),
  topK: v.optional(integer(0)),
  topP: v.optional(number(0, 1)),
  minP: v.optional(number(0, 1)),
  seed: v.optional(integer(0, 0xffffffff)),
  stop: v.optional(v.array(nonEmptyString)),
});

const questionItem = v.strictObject({
  id: nonEmptyString,
  video: nonEmptyString,
  question: nonEmptyString,
  options: v.optional(itemOptions),
});
const requestItem = v.strictObject({ id: nonEmptyString, body: jsonObject });

/** How a question of a batch is answered: sampling, prompt and answer. What is left out is the model's own. */
export type ItemOptions = v.InferOutput<typeof itemOptions>;

/** A question about a video. */
export type QuestionItem = {
  /** Names the item in a batch, and is in its result. */
  readonly id: string;
  /** A path, absolute in lists that were read from a file, or a URL; or a features file (`.safetensors`) of the same tower. */
  readonly video: string;
  readonly question: string;
  readonly options?: ItemOptions | undefined;
};

/** A request as `POST /v1/chat/completions` takes it. */
export type RequestItem = {
  /** OpenAI's `custom_id`. */
  readonly id: string;
  readonly body: Readonly<Record<string, unknown>>;
};

/** What is asked. */
export type BatchItem = QuestionItem | RequestItem;

/** The answer to a {@link QuestionItem}. */
export type BatchAnswer = {
  readonly id: string;
  readonly answer: string;
  readonly stopReason: StopReason;
  /** Tokens: before the answer, those of them that are the video's, and the answer's. */
  readonly usage: { readonly promptTokens: number; readonly videoTokens: number; readonly answerTokens: number };
  /** What of the video was really used. */
  readonly sampled: { readonly frames: number; readonly segments: number; readonly durationSeconds: number };
  /** Sentences about a video that could be read all the same. */
  readonly warnings: readonly string[];
  /** In ms: for the video's features, 0 where an earlier item had them made; until the turn came; and for the answer. */
  readonly timings: { readonly encode: number; readonly wait: number; readonly answer: number };
};

/** What the service would send for a {@link RequestItem}. */
export type ServiceResponse = { readonly status: number; readonly body: object };

/** The answer to a {@link RequestItem}. */
export type BatchCompletion = { readonly id: string; readonly response: ServiceResponse };

/** An item that could not be answered. */
export type BatchFailure = {
  readonly id: string;
  readonly error: {
    /** A code of `LongVLMError`, `ERR_LONGVLM_ARGUMENT` for an item that is wrong, or `ERR_LONGVLM_UNEXPECTED`. */
    readonly code: string;
    readonly message: string;
    /** Whether another try may succeed though nothing is changed: a network or a device failed, not the item. */
    readonly canRetry: boolean;
  };
  /** For a {@link RequestItem}. */
  readonly response?: ServiceResponse | undefined;
};

/** What comes of an item. */
export type BatchResult = BatchAnswer | BatchCompletion | BatchFailure;

/** What an {@link ItemRunner} works with. */
export type ItemContext = {
  readonly signal: AbortSignal;
  /** How far the item is: its video is fetched, read and encoded. */
  readonly onProgress?: OnProgress | undefined;
};

/**
 * Answers one item. Calls that go on at a time share what they can.
 * @returns the answer, or what the item failed with
 * @throws `signal.reason`; what every item would fail with, such as a model that was disposed: it ends the batch
 */
export type ItemRunner = (item: BatchItem, context: ItemContext) => Promise<BatchResult>;

/** What answers the items of a batch, here or elsewhere. */
export type BatchRunner = {
  readonly run: ItemRunner;
  /** Stands for the model and its defaults: answers with another identity are answers of another model. */
  readonly identity: string;
  /** Frees what was kept for further items, once none is in work. */
  dispose(): Promise<void>;
};

/** Whether a result is a failure. */
export function isFailure(result: BatchResult): result is BatchFailure {
  return 'error' in result;
}

/** Whether an item is a request. */
export function isRequest(item: BatchItem): item is RequestItem {
  return 'body' in item;
}

/** An item that comes from elsewhere. @param name of it in errors @throws TypeError or RangeError for what is none */
export function readItem(value: unknown, name = 'item'): BatchItem {
  const hasBody = typeof value === 'object' && value !== null && 'body' in value;
  return hasBody ? parse(requestItem, value, name, `${name}.`) : parse(questionItem, value, name, `${name}.`);
}
