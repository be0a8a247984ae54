// Forms with a file, which is taken as it comes.
import type { MultipartFile } from '@fastify/multipart';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { raceAbort } from '../base/abort.js';
import { longestTimer } from '../base/wait.js';
import { ApiError } from './apiError.js';
import type { RequestSignals } from './requestSignals.js';

/**
 * Reads a form.
 * @param field the name of its file
 * @param take called with the file, and a signal that aborts when the client goes away
 * @param undo called with what was taken where the form fails afterwards
 * @param seconds the longest time until the next part of the form begins
 * @returns what was taken, and the texts of the form
 * @throws ApiError for what is no such form; what `take` throws
 */
export async function readForm<T>(
  request: FastifyRequest,
  reply: FastifyReply,
  signals: RequestSignals,
  seconds: number,
  field: string,
  {
    take,
    undo,
  }: { take: (file: MultipartFile, signal: AbortSignal) => Promise<T>; undo: (taken: T) => Promise<unknown> },
): Promise<{ readonly taken: T; readonly texts: ReadonlyMap<string, string> }> {
  if (!request.isMultipart()) throw new ApiError(415, `Send a file as multipart/form-data, in the field ${field}.`);
  const { signal, end } = signals.of(reply);
  const texts = new Map<string, string>();
  let taken: { readonly value: T } | undefined;
  try {
    const parts = request.parts();
    for (;;) {
      const { value: part, done } = await soon(parts.next(), seconds, signal);
      if (done) break;
      if (part.type === 'field') {
        if (typeof part.value === 'string') texts.set(part.fieldname, part.value);
      } else if (part.fieldname === field && taken === undefined) taken = { value: await take(part, signal) };
      else part.file.resume();
    }
    if (taken === undefined) throw new ApiError(400, `Send the file in the field ${field}.`, { param: field });
    return { taken: taken.value, texts };
  } catch (error) {
    if (taken !== undefined) await undo(taken.value);
    throw error;
  } finally {
    end();
  }
}

/** What is waited for, unless it takes too long. */
async function soon<T>(work: Promise<T>, seconds: number, signal: AbortSignal): Promise<T> {
  const late = new AbortController();
  const error = new ApiError(408, `The form did not come: nothing of it for ${seconds} s. Send it again.`);
  const timer = setTimeout(() => late.abort(error), Math.min(seconds * 1000, longestTimer));
  try {
    return await raceAbort(work, late.signal, signal);
  } finally {
    clearTimeout(timer);
  }
}
