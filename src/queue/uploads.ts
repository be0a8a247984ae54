// Uploads of services that workers fetch: https://SERVER/v1/files/ID/content, with a key.
import { randomUUID } from 'node:crypto';
import { checkString, wrongValue } from '../base/validate.js';
import type { ChatRequest } from '../service/chatRequest.js';
import { readWithin, webSource } from '../video/byteSource.js';
import { FetchBudget } from '../video/fetchBudget.js';
import { checkLimits, type VideoLimits } from '../video/limits.js';
import { type TemporaryFile, writeTemporaryFile } from '../video/temporaryFile.js';

const uploadPath = /^\/v1\/files\/file-[\w-]{1,80}\/content$/;

/** The URL of an upload for workers. */
export function uploadUrl(server: string, id: string): string {
  return new URL(`/v1/files/${id}/content`, server).href;
}

/** A request whose uploads are files of this machine. Call `dispose` when it is answered. */
export type WithUploads = { readonly request: ChatRequest; readonly dispose: () => Promise<void> };

/** Fetches uploads, from services that are named, and from no other. */
export class Uploads {
  readonly #origins: ReadonlySet<string>;
  readonly #key: string | undefined;
  readonly #limits: VideoLimits;
  readonly #files = new Map<string, TemporaryFile>();

  /**
   * @param servers URLs of services
   * @param key one of their API keys
   * @param limits of each file: bytes, and times of fetching
   * @throws RangeError for what is no URL of a service
   */
  constructor(servers: readonly string[], key: string | undefined, limits: VideoLimits) {
    this.#origins = new Set(servers.map((server, index) => originOf(server, `servers[${index}]`)));
    this.#key = key;
    this.#limits = limits;
  }

  /** The path of an upload by the id that {@link take} gave it. */
  pathOf(id: string): string | undefined {
    return this.#files.get(id)?.path;
  }

  /**
   * Fetches the uploads that a request names.
   * @throws LongVLMError `ERR_LONGVLM_FETCH`; `signal.reason`
   */
  async take(request: ChatRequest, signal: AbortSignal): Promise<WithUploads> {
    const ids: string[] = [];
    const dispose = async () => {
      await Promise.all(ids.map((id) => this.#remove(id)));
    };
    try {
      const local = await withUrls(request, async (url) => {
        if (!this.#isUpload(url)) return url;
        const id = `file-${randomUUID()}`;
        this.#files.set(id, await this.#fetch(new URL(url), signal));
        ids.push(id);
        return id;
      });
      return { request: local, dispose };
    } catch (error) {
      await dispose();
      throw error;
    }
  }

  #isUpload(text: string): boolean {
    if (!URL.canParse(text)) return false;
    const { origin, pathname, search } = new URL(text);
    return this.#origins.has(origin) && uploadPath.test(pathname) && search === '';
  }

  async #fetch(url: URL, signal: AbortSignal): Promise<TemporaryFile> {
    const budget = new FetchBudget(checkLimits(this.#limits), signal);
    budget.begin(url.pathname);
    try {
      const response = await fetch(url, {
        headers: { ...(this.#key !== undefined && { authorization: `Bearer ${this.#key}` }) },
        redirect: 'error',
        signal: budget.signal,
      }).catch((error: unknown) => {
        budget.signal.throwIfAborted();
        throw budget.error(`cannot be fetched from ${url.origin}`, 'See whether that service runs.', error);
      });
      if (!response.ok || response.body === null) {
        void response.body?.cancel().catch(() => {});
        const remedy = response.status === 401 ? 'Give the worker one of its keys.' : 'Upload the file again.';
        throw budget.error(`is refused by the server: ${response.status} ${response.statusText}`.trim(), remedy);
      }
      return await writeTemporaryFile(
        '',
        readWithin(webSource(response.body), budget, () => {}),
      );
    } finally {
      budget.dispose();
    }
  }

  async #remove(id: string): Promise<void> {
    const file = this.#files.get(id);
    this.#files.delete(id);
    await file?.dispose();
  }
}

/** A request with each URL of its media replaced. */
export async function withUrls(request: ChatRequest, replace: (url: string) => Promise<string>): Promise<ChatRequest> {
  const messages: ChatRequest['messages'] = [];
  for (const message of request.messages) {
    if (message.role !== 'user' || typeof message.content === 'string') {
      messages.push(message);
      continue;
    }
    const content: typeof message.content = [];
    for (const part of message.content) content.push(await partWith(part, replace));
    messages.push({ ...message, content });
  }
  return { ...request, messages };
}

type Part = Exclude<Extract<ChatRequest['messages'][number], { role: 'user' }>['content'], string>[number];

async function partWith(part: Part, replace: (url: string) => Promise<string>): Promise<Part> {
  const named = async (url: string | { url: string }) => ({
    url: await replace(typeof url === 'string' ? url : url.url),
  });
  if (part.type === 'video_url') return { ...part, video_url: await named(part.video_url) };
  if (part.type === 'image_url') return { ...part, image_url: await named(part.image_url) };
  if (part.type !== 'input_video') return part;
  const given = part.input_video;
  if (typeof given === 'object' && 'url' in given) return { ...part, input_video: await named(given) };
  const data = typeof given === 'string' ? given : given.data;
  const url = data.startsWith('data:') ? data : `data:application/octet-stream;base64,${data}`;
  return { ...part, input_video: await named(url) };
}

function originOf(server: string, name: string): string {
  checkString(name, server);
  const url = URL.canParse(server) ? new URL(server) : undefined;
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:')
    return wrongValue(name, 'URL of a service, like http://10.0.0.5:8000', server);
  return url.origin;
}
