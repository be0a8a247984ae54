// Answers the requests of a service by the workers of a queue.
import { createHash, randomInt, randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import type { AnswerElsewhere } from '../service/answering.js';
import { ApiError } from '../service/apiError.js';
import type { ChatRequest } from '../service/chatRequest.js';
import type { FileStore } from '../service/fileStore.js';
import type { QueueClient } from './client.js';
import { priorities, readAnswered } from './jobs.js';
import { TextReceiver } from './relayedText.js';
import { uploadUrl, withUrls } from './uploads.js';

/** Smaller videos in a request stay in it. */
const inlineCharacters = 16_384;
/** Larger requests are no jobs. */
const mostCharacters = 4 << 20;

/**
 * Hands the requests of a service over.
 * @param serverUrl where workers reach the service, for uploads. Defaults to where it listens
 */
export function answerByQueue(queue: QueueClient, serverUrl?: string): AnswerElsewhere {
  return ({ check, files, url }) =>
    async (asked, { client, signal, onText, onProgress }) => {
      await check(asked);
      const { request, dispose } = await withoutBytes(asked, files, serverUrl ?? url(), signal);
      try {
        if (JSON.stringify(request).length > mostCharacters)
          throw new ApiError(413, `The request has more than ${mostCharacters} characters. Ask in fewer.`);
        const receiver = onText && new TextReceiver(onText);
        const value = await queue.run(
          { kind: 'ask', request: repeatable(request), client: anonymous(client), inbox: queue.inbox },
          {
            ...{ id: randomUUID(), priority: priorities.ask, signal, onProgress },
            ...(receiver && { onPiece: (at, text) => receiver.take(at, text) }),
          },
        );
        const answered = readAnswered(value);
        receiver?.end(answered.answer.text);
        return answered;
      } finally {
        await dispose();
      }
    };
}

/** With a seed, so that a worker that begins anew answers as the first one did. */
function repeatable(request: ChatRequest): ChatRequest {
  return request.seed == null ? { ...request, seed: randomInt(2 ** 32) } : request;
}

/** A request whose videos are URLs: what is uploaded, or larger than a few bytes, is fetched from this service. */
async function withoutBytes(request: ChatRequest, files: FileStore, server: string, signal: AbortSignal) {
  const added: string[] = [];
  const dispose = async () => {
    await Promise.all(added.map((id) => files.remove(id)));
  };
  try {
    const without = await withUrls(request, async (url) => {
      if (url.startsWith('file-')) return uploadUrl(server, url);
      if (!url.startsWith('data:') || url.length <= inlineCharacters) return url;
      const bytes = Buffer.from(url.slice(url.indexOf(',') + 1), 'base64');
      const { id } = await files.add(
        Readable.from([bytes]),
        { filename: 'video', purpose: 'vision', client: '' },
        signal,
      );
      added.push(id);
      return uploadUrl(server, id);
    });
    return { request: without, dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Tells clients apart, and no more: workers do not learn who asks. */
function anonymous(client: string): string {
  return createHash('sha256').update(client).digest('hex').slice(0, 32);
}
