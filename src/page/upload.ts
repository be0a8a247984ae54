// Uploads of videos: small ones in one form, others in parts, of which one that breaks off is sent again.
import { type Api, failure, isAbort, ServiceError, unreachable } from './api.js';

/** An upload that goes on, or has ended. */
export type Upload = {
  /** The file's id; rejects with a {@link ServiceError}, or an AbortError. */
  readonly id: Promise<string>;
  /** What is at the service of it goes, too. */
  readonly cancel: () => void;
};

/** What is told of an upload. */
export type UploadListeners = {
  /** Called with the part that was sent, from 0 to 1. */
  readonly onProgress: (part: number) => void;
  /** Called when the connection broke, with the seconds until the next try. */
  readonly onBreak: (seconds: number) => void;
};

/** Small enough to be sent again soon, large enough for few requests. */
const partBytes = 8 << 20;
const mostParts = 10_000;
/** The seconds before each further try of a request. */
const pauses = [1, 2, 4, 8, 15];
/** A connection that takes nothing for so long is given up. */
const silentMs = 60_000;

/** Sends a file to the service. */
export function upload(api: Api, file: File, listeners: UploadListeners): Upload {
  const controller = new AbortController();
  const { signal } = controller;
  const sent = file.size > partBytes ? inParts(api, file, listeners, signal) : whole(api, file, listeners, signal);
  // Whoever cancels does not wait for what is left to do.
  const id = new Promise<string>((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as DOMException));
    sent.then((file) => (signal.aborted ? api.forget(file) : resolve(file)), reject);
  });
  return { id, cancel: () => controller.abort(new DOMException('The upload was cancelled.', 'AbortError')) };
}

async function whole(api: Api, file: File, { onProgress }: UploadListeners, signal: AbortSignal): Promise<string> {
  const form = new FormData();
  form.append('purpose', 'vision');
  form.append('file', file);
  return send(api, '/v1/files', form, (bytes) => onProgress(Math.min(1, bytes / Math.max(1, file.size))), signal);
}

async function inParts(api: Api, file: File, listeners: UploadListeners, signal: AbortSignal): Promise<string> {
  const tried = <T>(work: () => Promise<T>) => withRetries(file, work, listeners.onBreak, signal);
  const upload = await tried(() => api.beginUpload(file));
  try {
    const size = Math.max(partBytes, Math.ceil(file.size / mostParts));
    const parts: string[] = [];
    for (let start = 0; start < file.size; start += size) {
      const form = new FormData();
      form.append('data', file.slice(start, start + size));
      const onBytes = (bytes: number) => listeners.onProgress((start + Math.min(bytes, size)) / file.size);
      parts.push(await tried(() => send(api, `/v1/uploads/${upload}/parts`, form, onBytes, signal)));
    }
    listeners.onProgress(1);
    return await tried(() => api.completeUpload(upload, parts));
  } catch (error) {
    api.cancelUpload(upload);
    throw error;
  }
}

/** Does what may be done again, until it is done. */
async function withRetries<T>(
  file: File,
  work: () => Promise<T>,
  onBreak: UploadListeners['onBreak'],
  signal: AbortSignal,
): Promise<T> {
  for (let tries = 0; ; tries++) {
    signal.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      const seconds = pauses[tries];
      if (isAbort(error) || seconds === undefined || !mayPass(error)) throw error;
      await checkReadable(file);
      onBreak(seconds);
      await pause(seconds * 1000, signal);
    }
  }
}

/** Whether the network, or the service for the moment, is to blame. */
function mayPass(error: unknown): boolean {
  const { name, status } = error as ServiceError;
  return name === 'ServiceError' && [0, 408, 429, 500, 502, 503, 504].includes(status);
}

/** A file that is gone looks like a connection that broke. */
async function checkReadable(file: File): Promise<void> {
  await file
    .slice(0, 1)
    .arrayBuffer()
    .catch(() => {
      throw new ServiceError(0, 'The file cannot be read any more, as it was moved or changed. Choose it again.');
    });
}

/** Ends sooner where the network comes back. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    addEventListener('online', () => resolve(), { once: true, signal });
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason as DOMException);
    });
  });
}

/**
 * Posts a form. fetch() tells nothing of what has gone.
 * @param onBytes called with the bytes that have
 * @returns the id of what it became
 */
function send(
  api: Api,
  path: string,
  form: FormData,
  onBytes: (bytes: number) => void,
  signal: AbortSignal,
): Promise<string> {
  signal.throwIfAborted();
  const request = new XMLHttpRequest();
  const abort = () => request.abort();
  let timer = setTimeout(abort, silentMs);
  return new Promise<string>((resolve, reject) => {
    request.upload.addEventListener('progress', ({ loaded }) => {
      clearTimeout(timer);
      timer = setTimeout(abort, silentMs);
      onBytes(loaded);
    });
    request.addEventListener('load', () => {
      if (request.status === 200) resolve((JSON.parse(request.responseText) as { id: string }).id);
      else reject(failure(request.status, request.responseText));
    });
    request.addEventListener('error', () => reject(unreachable()));
    request.addEventListener('abort', () => reject(signal.aborted ? signal.reason : unreachable()));
    request.addEventListener('loadend', () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    });
    signal.addEventListener('abort', abort);
    request.open('POST', path);
    for (const [name, value] of Object.entries(api.headers())) request.setRequestHeader(name, value);
    request.send(form);
  });
}
