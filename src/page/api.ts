// Requests to the service that this page comes from.
import type { Inspection } from '../inspect/inspection.js';
import type { TokenPlan } from '../inspect/tokenPlan.js';
import { serverEvents } from './serverEvents.js';

/** What is asked of the video, in the library's names. */
export type Sampling = { reduction?: string; tokens?: number; frames?: number };

export type Model = {
  readonly id: string;
  readonly longvlm: { readonly segmentFrames: number };
};

export type Progress = { readonly stage: string; readonly done: number; readonly total: number; readonly unit: string };

/** A piece of a streamed answer. */
export type Chunk = {
  readonly choices: readonly { readonly delta: { readonly content?: string }; readonly finish_reason: string | null }[];
  readonly usage?: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly prompt_tokens_details?: { readonly video_tokens?: number };
  };
  readonly longvlm?: {
    readonly progress?: Progress;
    readonly timings?: { readonly encode: number; readonly firstToken: number; readonly answer: number };
    readonly warnings?: readonly string[];
  };
};

export type Message = { readonly role: 'user' | 'assistant'; readonly content: string | readonly object[] };

/** The service refuses, in a sentence for people. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError';

  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Whether something thrown is the end that someone asked for. */
export function isAbort(error: unknown): boolean {
  return (error as { name?: unknown } | null)?.name === 'AbortError';
}

/** The sentence to show for anything thrown. */
export function sentenceOf(error: unknown): string {
  const { name, message } = error as { name?: unknown; message?: unknown };
  return name === 'ServiceError' ? String(message) : `The page failed: ${String(message ?? error)}`;
}

const keyName = 'longvlm-key';

/** The service, as this page asks it. */
export class Api {
  /** Kept until the tab is closed. */
  get key(): string | undefined {
    return sessionStorage.getItem(keyName) ?? undefined;
  }

  set key(value: string | undefined) {
    if (value === undefined) sessionStorage.removeItem(keyName);
    else sessionStorage.setItem(keyName, value);
  }

  async model(): Promise<Model> {
    const { data } = (await (await this.#ask('/v1/models')).json()) as { data: [Model] };
    return data[0];
  }

  /** @param budgets for which each method is tried, too */
  async plan(
    sampling: Sampling,
    { seconds, budgets = [], signal }: { seconds?: number | undefined; budgets?: number[]; signal?: AbortSignal },
  ): Promise<TokenPlan> {
    const body = { plan: true, budgets, longvlm: sampling, ...(seconds !== undefined && { duration: seconds }) };
    return (await (await this.#post('/v1/inspect', body, signal)).json()) as TokenPlan;
  }

  async inspect(url: string, sampling: Sampling, signal: AbortSignal): Promise<Inspection> {
    const messages = [{ role: 'user', content: [{ type: 'video_url', video_url: { url } }] }];
    const body = { messages, longvlm: sampling, thumbnails: 224 };
    return (await (await this.#post('/v1/inspect', body, signal)).json()) as Inspection;
  }

  /** The pieces of an answer as they come. */
  async *answer(messages: readonly Message[], sampling: Sampling, signal: AbortSignal): AsyncGenerator<Chunk> {
    const stream_options = { include_usage: true, include_progress: true };
    const body = { messages, longvlm: sampling, stream: true, stream_options };
    const response = await this.#post('/v1/chat/completions', body, signal);
    try {
      for await (const data of serverEvents(response.body!)) {
        if (data === '[DONE]') return;
        const event = JSON.parse(data) as Chunk | { error: { message: string } };
        if ('error' in event) throw new ServiceError(200, event.error.message);
        yield event;
      }
    } catch (error) {
      throw isAbort(error) || (error as Error).name === 'ServiceError' ? error : unreachable();
    }
    throw new ServiceError(0, 'The answer ended in the middle, as the service went away. Ask again.');
  }

  /** Begins an upload in parts. @returns its id */
  async beginUpload({ name, size, type }: File): Promise<string> {
    const body = { filename: name || 'video', bytes: size, purpose: 'vision', mime_type: type };
    return ((await (await this.#post('/v1/uploads', body)).json()) as { id: string }).id;
  }

  /** Makes a file of the parts of an upload. @returns the file's id */
  async completeUpload(id: string, parts: readonly string[]): Promise<string> {
    const response = await this.#post(`/v1/uploads/${id}/complete`, { part_ids: parts });
    return ((await response.json()) as { file: { id: string } }).file.id;
  }

  /** Gives up an upload in parts, also while the page is left. */
  cancelUpload(id: string): void {
    this.#last(`/v1/uploads/${id}/cancel`, 'POST');
  }

  /** Deletes an upload, also while the page is left. */
  forget(id: string): void {
    this.#last(`/v1/files/${id}`, 'DELETE');
  }

  #last(path: string, method: string): void {
    fetch(path, { method, headers: this.headers(), keepalive: true }).catch(() => {});
  }

  headers(): Record<string, string> {
    return this.key === undefined ? {} : { authorization: `Bearer ${this.key}` };
  }

  #post(path: string, body: object, signal?: AbortSignal): Promise<Response> {
    const headers = { 'content-type': 'application/json' };
    return this.#ask(path, { method: 'POST', body: JSON.stringify(body), headers, ...(signal && { signal }) });
  }

  async #ask(path: string, { headers, ...init }: RequestInit & { headers?: Record<string, string> } = {}) {
    let response: Response;
    try {
      response = await fetch(path, { ...init, headers: { ...headers, ...this.headers() } });
    } catch (error) {
      throw isAbort(error) ? error : unreachable();
    }
    if (!response.ok) throw failure(response.status, await response.text().catch(() => ''));
    return response;
  }
}

export function unreachable(): ServiceError {
  return new ServiceError(0, 'The service cannot be reached. See whether longvlm serve still runs, and try again.');
}

/** The failure that a response tells. */
export function failure(status: number, body: string): ServiceError {
  try {
    const { message } = (JSON.parse(body) as { error: { message: string } }).error;
    return new ServiceError(status, message);
  } catch {
    return new ServiceError(status, `The service answered with status ${status}. Its log says why.`);
  }
}
