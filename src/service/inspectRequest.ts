// The body of a request for an inspection: that of a chat, of which the question may be left out.
import * as v from 'valibot';
import { integer, nonEmptyString, number } from '../base/schema.js';
import { type Message, message, ownOptions, videoOptions } from './chatRequest.js';

/** Fields that it does not have are ignored, so that a chat's request can be sent as it is. */
export const inspectRequest = v.object({
  model: v.nullish(nonEmptyString),
  messages: v.nullish(v.pipe(v.array(message), v.minLength(1), v.maxLength(1000))),
  media_io_kwargs: v.nullish(v.object({ video: v.nullish(videoOptions) })),
  longvlm: v.nullish(ownOptions),
  /** Pixels of the longer edge of frames; 0 for none. */
  thumbnails: v.nullish(integer(0, 512)),
  /** Only how many tokens would be left: nothing is read, and no video has to be named. */
  plan: v.nullish(v.boolean('boolean')),
  budgets: v.nullish(v.pipe(v.array(integer(1)), v.maxLength(32, 'at most 32 integers'))),
  /** Seconds of the video, for a plan by frames per second. */
  duration: v.nullish(number(0)),
});

/** A checked request. */
export type InspectRequest = v.InferOutput<typeof inspectRequest>;

/** What stands for a question that is not there yet. */
const noQuestion = '…';

/** Messages in which no message of the user is without a text. */
export function withQuestions(messages: readonly Message[]): Message[] {
  return messages.map((each) => {
    if (each.role !== 'user' || typeof each.content === 'string') return each;
    const isAsked = each.content.some((part) => part.type === 'text' && part.text !== '');
    return isAsked ? each : { ...each, content: [...each.content, { type: 'text' as const, text: noQuestion }] };
  });
}
