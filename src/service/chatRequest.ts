// The body of a request for a chat completion: OpenAI's, with what vLLM and llama.cpp add for videos.
import * as v from 'valibot';
import { finiteNumber, integer, jsonObject, nonEmptyString, number } from '../base/schema.js';

const url = v.union([nonEmptyString, v.object({ url: nonEmptyString })], 'URL, or object with a url');

const textPart = v.object({ type: v.literal('text'), text: v.string() });
const imagePart = v.object({ type: v.literal('image_url'), image_url: url });
const videoPart = v.object({ type: v.literal('video_url'), video_url: url });
const inputVideoPart = v.object({
  type: v.literal('input_video'),
  input_video: v.union(
    [nonEmptyString, v.object({ data: nonEmptyString }), v.object({ url: nonEmptyString })],
    'bytes in base64, or object with data in base64 or a url',
  ),
});

const userContent = v.union(
  [
    v.string(),
    v.array(
      v.variant(
        'type',
        [textPart, imagePart, videoPart, inputVideoPart],
        'part of type text, image_url, video_url or input_video',
      ),
    ),
  ],
  'text, or array of parts of type text, image_url, video_url or input_video',
);
const textContent = v.union([v.string(), v.array(textPart)], 'text, or array of parts of type text');

/** A message of a conversation. */
export const message = v.variant(
  'role',
  [
    v.object({ role: v.picklist(['system', 'developer']), content: textContent }),
    v.object({ role: v.literal('user'), content: userContent }),
    v.object({ role: v.literal('assistant'), content: v.nullish(textContent) }),
  ],
  'message of role system, developer, user or assistant',
);

/** A part of a user's message. */
export type ContentPart = Exclude<v.InferOutput<typeof userContent>, string>[number];
/** A message of a conversation. */
export type Message = v.InferOutput<typeof message>;

const optional = <const Schema extends v.GenericSchema>(schema: Schema) => v.nullish(schema);

/** Sampling of a video as vLLM names it; -1 leaves a value open. */
export const videoOptions = v.object({ num_frames: optional(integer(-1)), fps: optional(finiteNumber) });

/** Options that are ours alone, named as in the library. */
export const ownOptions = v.strictObject({
  frames: v.optional(integer(1)),
  fps: v.optional(finiteNumber),
  maxFrames: v.optional(integer(1)),
  start: v.optional(number(0)),
  end: v.optional(number(0)),
  segmentFrames: v.optional(integer(1)),
  tokensPerSegment: v.optional(integer(1)),
  tokens: v.optional(v.union([integer(1), v.literal('all')], "positive integer or 'all'")),
  globalLayers: v.optional(integer(0)),
  mergeHeads: v.optional(integer(1)),
  maxPixels: v.optional(integer(1)),
  resize: v.optional(v.picklist(['crop', 'squash', 'pad'])),
  reduction: v.optional(nonEmptyString),
  part: v.optional(v.picklist(['both', 'global', 'local'])),
  timestamps: v.optional(v.boolean('boolean')),
  template: v.optional(nonEmptyString),
});

const responseFormat = v.variant(
  'type',
  [
    v.object({ type: v.literal('text') }),
    v.object({ type: v.literal('json_object') }),
    v.object({ type: v.literal('json_schema'), json_schema: v.object({ schema: jsonObject }) }),
  ],
  'object of type text, json_object or json_schema',
);

const boolean = v.boolean('boolean');

/** Fields that it does not have are ignored, as OpenAI's clients send many. */
export const chatRequest = v.object({
  model: optional(nonEmptyString),
  messages: v.pipe(v.array(message), v.minLength(1), v.maxLength(1000)),
  max_tokens: optional(integer(1)),
  max_completion_tokens: optional(integer(1)),
  temperature: optional(number(0)),
  top_p: optional(number(0, 1)),
  top_k: optional(integer(-1)),
  min_p: optional(number(0, 1)),
  seed: optional(v.pipe(v.number('integer'), v.safeInteger('integer'))),
  frequency_penalty: optional(number(-2, 2)),
  presence_penalty: optional(number(-2, 2)),
  repetition_penalty: optional(number(0)),
  stop: optional(v.union([nonEmptyString, v.pipe(v.array(nonEmptyString), v.maxLength(16))], 'text or up to 16 texts')),
  n: optional(integer(1, 1)),
  stream: optional(boolean),
  stream_options: optional(v.object({ include_usage: optional(boolean), include_progress: optional(boolean) })),
  response_format: optional(responseFormat),
  media_io_kwargs: optional(v.object({ video: optional(videoOptions) })),
  longvlm: optional(ownOptions),
  // What would change an answer, and cannot be had.
  tools: optional(v.pipe(v.array(v.unknown()), v.maxLength(0, 'at most 0, as tools cannot be called'))),
  logprobs: optional(v.literal(false, 'nothing or false, as probabilities are not told')),
});

/** A checked request. */
export type ChatRequest = v.InferOutput<typeof chatRequest>;
export type ResponseFormat = v.InferOutput<typeof responseFormat>;
