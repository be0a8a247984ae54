// The messages of a request as a conversation about one video: its parts of text and media, turn by turn.
import { ApiError } from './apiError.js';
import type { ContentPart, Message } from './chatRequest.js';

/** A picture or video that a message names. */
export type MediaPart = Exclude<ContentPart, { type: 'text' }>;

/** A conversation, whose last question is to be answered. */
export type Conversation = {
  /** Undefined without a system message: the template's own text. */
  readonly system: string | undefined;
  readonly media: readonly MediaPart[];
  /** Turns that took place. */
  readonly turns: readonly { readonly question: string; readonly answer: string }[];
  readonly question: string;
};

/** @throws ApiError for messages that are no conversation about a video */
export function readConversation(messages: readonly Message[]): Conversation {
  const systems: string[] = [];
  const media: MediaPart[] = [];
  const turns: { question: string; answer: string }[] = [];
  let question: string | undefined;
  for (const [index, { role, content }] of messages.entries()) {
    const param = `messages[${index}]`;
    if (role === 'system' || role === 'developer') {
      if (question !== undefined || turns.length > 0) throw wrong(param, 'Put system messages before all others.');
      systems.push(textOf(content));
    } else if (role === 'assistant') {
      if (question === undefined) throw wrong(param, 'Put a message of the user before each of the assistant.');
      turns.push({ question, answer: textOf(content ?? '') });
      question = undefined;
    } else {
      const named = mediaOf(content);
      if (named.length > 0 && turns.length > 0)
        throw wrong(param, 'Put the video into the first message of the user: the model sees it before all questions.');
      for (const part of named) media.push(part);
      // Messages in a row are one turn.
      question = [...(question === undefined ? [] : [question]), textOf(content)].filter(Boolean).join('\n');
    }
  }
  if (question === undefined) throw wrong('messages', 'Put a message of the user last.');
  for (const asked of [...turns.map((turn) => turn.question), question])
    if (asked === '') throw wrong('messages', 'Put a text, the question, into each message of the user.');
  if (media.length === 0)
    throw wrong(
      'messages',
      'Put a part of type video_url, input_video or image_url into the first message of the user.',
    );
  if (media.length > 1 && media.some(({ type }) => type !== 'image_url'))
    throw wrong('messages', 'Give one video, or pictures alone: the model takes one video in a conversation.');
  return { system: systems.length === 0 ? undefined : systems.join('\n'), media, turns, question };
}

function mediaOf(content: string | readonly ContentPart[]): MediaPart[] {
  return typeof content === 'string' ? [] : content.flatMap((part) => (part.type === 'text' ? [] : [part]));
}

function textOf(content: string | readonly ContentPart[]): string {
  if (typeof content === 'string') return content;
  return content.flatMap((part) => (part.type === 'text' ? [part.text] : [])).join('\n');
}

function wrong(param: string, message: string): ApiError {
  return new ApiError(400, message, { param });
}
