// Uploads, with what has come of them: fetch() tells nothing of it.
import { type Api, failure, type ServiceError, unreachable } from './api.js';

/** An upload that goes on, or has ended. */
export type Upload = {
  /** The file's id; rejects with a {@link ServiceError}, or an AbortError. */
  readonly id: Promise<string>;
  readonly cancel: () => void;
};

/** @param onProgress called with the part that was sent, from 0 to 1 */
export function upload(api: Api, file: File, onProgress: (part: number) => void): Upload {
  const request = new XMLHttpRequest();
  const id = new Promise<string>((resolve, reject) => {
    const fail = (error: ServiceError | DOMException) => reject(error);
    request.upload.addEventListener('progress', ({ loaded, total }) => onProgress(total > 0 ? loaded / total : 1));
    request.addEventListener('load', () => {
      if (request.status !== 200) return fail(failure(request.status, request.responseText));
      resolve((JSON.parse(request.responseText) as { id: string }).id);
    });
    request.addEventListener('error', () => fail(unreachable()));
    request.addEventListener('abort', () => fail(new DOMException('The upload was cancelled.', 'AbortError')));
    const form = new FormData();
    form.append('purpose', 'vision');
    form.append('file', file);
    request.open('POST', '/v1/files');
    for (const [name, value] of Object.entries(api.headers())) request.setRequestHeader(name, value);
    request.send(form);
  });
  return { id, cancel: () => request.abort() };
}
