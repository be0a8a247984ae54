// The messages of a request as a conversation about one video: its parts of text and media, turn by turn.
import { type GivenConversation, readMessages, WrongMessages } from '../llm/givenConversation.js';
import { ApiError } from './apiError.js';
import type { ContentPart, Message } from './chatRequest.js';

/** A picture or video that a message names. */
export type MediaPart = Exclude<ContentPart, { type: 'text' }>;

/** A conversation, whose last question is to be answered. */
export type Conversation = GivenConversation<MediaPart>;

/** @throws ApiError for messages that are no conversation about a video */
export function readConversation(messages: readonly Message[]): Conversation {
  const given = messages.map(({ role, content }) => ({
    role: role === 'developer' ? 'system' : role,
    text: textOf(content ?? ''),
    media: mediaOf(content ?? ''),
  }));
  try {
    return readMessages(given, {
      isPicture: ({ type }) => type === 'image_url',
      missing: 'Put a part of type video_url, input_video or image_url into the first message of the user.',
    });
  } catch (error) {
    if (!(error instanceof WrongMessages)) throw error;
    const { index, message } = error;
    throw new ApiError(400, message, { param: index === undefined ? 'messages' : `messages[${index}]` });
  }
}

function mediaOf(content: string | readonly ContentPart[]): MediaPart[] {
  return typeof content === 'string' ? [] : content.flatMap((part) => (part.type === 'text' ? [] : [part]));
}

function textOf(content: string | readonly ContentPart[]): string {
  if (typeof content === 'string') return content;
  return content.flatMap((part) => (part.type === 'text' ? [part.text] : [])).join('\n');
}
