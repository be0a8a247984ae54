// The prompt of a call as a conversation about one video.
import { fileURLToPath } from 'node:url';
import { types } from 'node:util';
import { LongVLMError } from '../base/errors.js';
import { printable } from '../base/printable.js';
import { realPathWithin, realRoot } from '../base/root.js';
import { isFeatures } from '../encode/featuresFile.js';
import { VideoFeatures } from '../encode/videoFeatures.js';
import { type GivenConversation, readMessages, WrongMessages } from '../llm/givenConversation.js';
import type { PictureInput, VideoInput } from '../video/videoInput.js';
import type { MessagePart, PromptMessage } from './types.js';

/** A video, or pictures, that a message holds. */
export type Media = { readonly isPicture: boolean; readonly data: Uint8Array | URL };

/** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for a prompt that is no conversation about a video */
export function readPrompt(prompt: readonly PromptMessage[]): GivenConversation<Media> {
  const messages = prompt.map((message) => {
    if (message.role === 'system') return { role: message.role, text: message.content, media: [] };
    const { role, content } = message;
    if (role === 'tool') throw unsupported('The model calls no tools, so that none has a result. Leave tools out.');
    const texts = content.flatMap(({ type, text }) => (type === 'text' && text !== undefined ? [text] : []));
    return { role, text: texts.join('\n'), media: role === 'user' ? mediaOf(content) : [] };
  });
  try {
    return readMessages(messages, {
      isPicture: ({ isPicture }) => isPicture,
      missing: "Put a part { type: 'file', mediaType: 'video/mp4', data } into the first message of the user.",
    });
  } catch (error) {
    if (!(error instanceof WrongMessages)) throw error;
    const which = error.index === undefined ? 'The prompt' : `Message ${error.index} of the prompt`;
    throw unsupported(`${which} cannot be answered. ${error.message}`);
  }
}

function mediaOf(content: readonly MessagePart[]): Media[] {
  return content.flatMap(({ type, data, mediaType = '' }) => {
    if (type !== 'file') return [];
    const [kind] = mediaType.split('/');
    // Features are told by their beginning.
    if (!['video', 'image', 'application', '*'].includes(kind!))
      throw unsupported(
        `A part of type ${printable(mediaType.slice(0, 100))} is no video and no picture. Leave it out.`,
      );
    return [{ isPicture: kind === 'image', data: dataOf(data) }];
  });
}

function dataOf(data: unknown): Uint8Array | URL {
  if (types.isUint8Array(data)) return data;
  // Of any realm.
  if (Object.prototype.toString.call(data) === '[object URL]') return new URL(String(data));
  if (typeof data === 'string') return Buffer.from(data, 'base64');
  throw unsupported('A file of the prompt is neither bytes, base64 nor a URL. Give one of these.');
}

/**
 * The video that a prompt names: features where the bytes are those of some.
 * @param root the folder that `file:` URLs may lead to
 * @throws LongVLMError for what may not be read
 */
export async function videoOf(media: readonly Media[], root: string | undefined): Promise<VideoInput | VideoFeatures> {
  const [first] = media;
  if (media.length === 1 && types.isUint8Array(first!.data) && isFeatures(first!.data))
    return VideoFeatures.fromBytes(first!.data);
  const inputs: PictureInput[] = [];
  for (const { data } of media) inputs.push(types.isUint8Array(data) ? data : await allowed(data, root));
  return inputs.length === 1 ? inputs[0]! : { frames: inputs };
}

async function allowed(url: URL, root: string | undefined): Promise<URL | string> {
  if (url.protocol !== 'file:') return url;
  if (root === undefined)
    throw unsupported('A file: URL may be of any file of this machine. Name the folder that it may be in: root.');
  return realPathWithin(await realRoot(root), fileURLToPath(url));
}

export function unsupported(message: string): LongVLMError {
  return new LongVLMError('ERR_LONGVLM_UNSUPPORTED', message);
}
