// POST /v1/chat/completions
import { PassThrough } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { OnProgress, Progress } from '../base/progress.js';
import { parse } from '../base/schema.js';
import { type LaneScheduler, QueueFull } from '../jobs/laneScheduler.js';
import { checkModelName } from './answerer.js';
import type { Answered, AnswerRequest } from './answering.js';
import { ApiError, apiError } from './apiError.js';
import { type ChatRequest, chatRequest } from './chatRequest.js';
import { type CompletionHead, completion, completionHead, lastPieces, piece, progressPiece } from './completions.js';
import type { RequestSignals } from './requestSignals.js';

/** What the route works with. */
export type ChatParts = {
  readonly model: string;
  readonly answer: AnswerRequest;
  readonly scheduler: LaneScheduler;
  readonly signals: RequestSignals;
  readonly onAnswered: (answered: Answered) => void;
  readonly clientOf: (request: FastifyRequest) => string;
  readonly log: (request: FastifyRequest, error: ApiError) => void;
};

/** What a stream hears of its answer. */
type Listeners = {
  readonly onText?: (text: string) => void;
  /** Called while the video is fetched, read and encoded. */
  readonly onProgress?: OnProgress;
};

/** A stream whose answer does not begin so soon begins without it, so that whoever passes it on does not give up. */
const quietMs = 15_000;

export function addChatRoute(app: FastifyInstance, parts: ChatParts): void {
  app.post('/v1/chat/completions', async (request, reply) => {
    const body = parse(chatRequest, request.body, 'body');
    checkModelName(body.model, parts.model);
    const head = completionHead(parts.model);
    const { signal, end } = parts.signals.of(reply);
    const client = parts.clientOf(request);
    const answer = (listeners?: Listeners) =>
      parts.scheduler.request(client, () => answerOf(parts, body, client, signal, listeners), signal).finally(end);
    if (!body.stream) return completion(head, await answer());
    return sendStream(request, reply, parts, head, body, answer);
  });
}

async function answerOf(
  { answer, scheduler, signals, onAnswered }: ChatParts,
  body: ChatRequest,
  client: string,
  signal: AbortSignal,
  { onText, onProgress }: Listeners = {},
): Promise<Answered> {
  return signals.within(signal, async (limited) => {
    const asked = { client, scheduler: scheduler.of(client), signal: limited, onText, onProgress };
    const answered = await answer(body, asked);
    onAnswered(answered);
    return answered;
  });
}

/**
 * Streams an answer as server-sent events. What fails before its first piece is a response of its own, unless that takes long; later
 * failures are an event. Pieces are kept for a client that reads slowly: nobody else waits for it.
 */
async function sendStream(
  request: FastifyRequest,
  reply: FastifyReply,
  parts: ChatParts,
  head: CompletionHead,
  body: ChatRequest,
  answer: (listeners: Listeners) => Promise<Answered>,
): Promise<FastifyReply> {
  const stream = new PassThrough();
  const send = (event: object) => stream.write(`data: ${JSON.stringify(event)}\n\n`);
  send(piece(head, { role: 'assistant', content: '' }));
  let begin = () => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const onText = (text: string) => {
    begin();
    send(piece(head, { content: text }));
  };
  const onProgress = (progress: Progress) => {
    begin();
    send(progressPiece(head, progress));
  };
  const answering = answer({ onText, ...(body.stream_options?.include_progress && { onProgress }) });
  const quiet = new AbortController();
  const tooQuiet = setTimeout(quietMs, 'quiet' as const, { signal: quiet.signal, ref: false }).catch(() => undefined);
  await Promise.race([begun, answering, tooQuiet]).finally(() => quiet.abort());
  const beat = setInterval(() => stream.write(': still at work\n\n'), quietMs);
  answering
    .then(
      (answered) => {
        for (const last of lastPieces(head, answered, body.stream_options?.include_usage === true)) send(last);
        stream.write('data: [DONE]\n\n');
      },
      (error: unknown) => {
        const failure = asApiError(error);
        parts.log(request, failure);
        send(failure.toJSON());
      },
    )
    .finally(() => {
      clearInterval(beat);
      stream.end();
    });
  return reply
    .type('text/event-stream')
    .headers({ 'cache-control': 'no-cache', 'x-accel-buffering': 'no' })
    .send(stream);
}

/** The error to send for what a request failed with. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof QueueFull)
    return new ApiError(429, `Too many requests: ${error.message} Try again in ${error.retryAfter} s.`, {
      code: 'rate_limit_exceeded',
      retryAfter: error.retryAfter,
    });
  return apiError(error);
}
