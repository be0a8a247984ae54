// Uploaded files, which the process keeps in its own folder for temporary files.
import { randomUUID } from 'node:crypto';
import { extname } from 'node:path';
import type { Readable } from 'node:stream';
import { LongVLMError } from '../base/errors.js';
import { longestTimer } from '../base/wait.js';
import { nodeSource, readWithin } from '../video/byteSource.js';
import { FetchBudget } from '../video/fetchBudget.js';
import { checkLimits, type VideoLimits } from '../video/limits.js';
import { type TemporaryFile, writeTemporaryFile } from '../video/temporaryFile.js';
import { ApiError } from './apiError.js';

/** A file as OpenAI's API describes it. */
export type FileObject = {
  readonly id: string;
  readonly object: 'file';
  readonly bytes: number;
  readonly created_at: number;
  readonly expires_at: number;
  readonly filename: string;
  readonly purpose: string;
  readonly status: 'processed';
};

type Stored = {
  readonly described: FileObject;
  readonly file: TemporaryFile;
  readonly client: string;
  readonly expiry: NodeJS.Timeout;
};

/** What a form has beside its file. */
const formBytes = 200_000;

/** How much is kept, and for how long. */
export type StoreLimits = { readonly mostBytes: number; readonly mostFiles: number; readonly keepSeconds: number };

/** The uploads of one service. Whoever knows a file's id may ask about it; only who uploaded it sees it listed. */
export class FileStore {
  readonly #limits: VideoLimits;
  readonly #store: StoreLimits;
  readonly #files = new Map<string, Stored>();
  #bytes = 0;

  /** @param limits of one file: bytes, and times of its upload */
  constructor(limits: VideoLimits, store: StoreLimits) {
    this.#limits = limits;
    this.#store = store;
  }

  /** @throws ApiError where an upload of so many bytes cannot be taken */
  checkRoom(bytes: number): void {
    const { maxBytes } = checkLimits(this.#limits);
    if (bytes > maxBytes + formBytes)
      throw new ApiError(413, `The file is larger than ${maxBytes} bytes. Give a smaller one.`, { param: 'file' });
    if (this.#files.size >= this.#store.mostFiles || this.#bytes + bytes > this.#store.mostBytes) throw noRoom();
  }

  /**
   * Writes a file as it comes.
   * @throws ApiError for a file that is too large, that does not come, or for which there is no room
   */
  async add(
    source: Readable,
    { filename, purpose, client, signal }: { filename: string; purpose: string; client: string; signal: AbortSignal },
  ): Promise<FileObject> {
    const budget = new FetchBudget(checkLimits(this.#limits), signal);
    budget.begin('file');
    let received = 0;
    // What has come counts at once, so that files that come together do not fill the disk.
    const count = (bytes: number) => {
      this.#bytes += bytes - received;
      received = bytes;
      if (this.#bytes > this.#store.mostBytes) throw noRoom();
    };
    try {
      const ending = /^\.[a-z0-9]{1,5}$/i.exec(extname(filename))?.[0] ?? '';
      const file = await writeTemporaryFile(ending, readWithin(nodeSource(source), budget, count));
      return this.#keep(file, { bytes: received, filename, purpose, client });
    } catch (error) {
      this.#bytes -= received;
      source.destroy();
      if (error instanceof LongVLMError && error.code === 'ERR_LONGVLM_FETCH')
        throw new ApiError(error.message.includes('is larger') ? 413 : 408, error.message, { param: 'file' });
      throw error;
    } finally {
      budget.dispose();
    }
  }

  #keep(
    file: TemporaryFile,
    { bytes, filename, purpose, client }: { bytes: number; filename: string; purpose: string; client: string },
  ): FileObject {
    const id = `file-${randomUUID()}`;
    const created = Math.floor(Date.now() / 1000);
    const { keepSeconds } = this.#store;
    const described: FileObject = {
      ...{ id, object: 'file', bytes, created_at: created, expires_at: Math.floor(created + keepSeconds) },
      ...{ filename, purpose, status: 'processed' },
    };
    const expiry = setTimeout(() => this.remove(id), Math.min(keepSeconds * 1000, longestTimer)).unref();
    this.#files.set(id, { described, file, client, expiry });
    return described;
  }

  /** The file's path; undefined if there is none of that id. */
  pathOf(id: string): string | undefined {
    return this.#files.get(id)?.file.path;
  }

  describe(id: string): FileObject | undefined {
    return this.#files.get(id)?.described;
  }

  /** The files of a client, the latest first. */
  list(client: string): FileObject[] {
    return [...this.#files.values()]
      .filter((stored) => stored.client === client)
      .map(({ described }) => described)
      .reverse();
  }

  /** Whether there was such a file. Work that has it open goes on. */
  async remove(id: string): Promise<boolean> {
    const stored = this.#files.get(id);
    if (stored === undefined) return false;
    this.#files.delete(id);
    this.#bytes -= stored.described.bytes;
    clearTimeout(stored.expiry);
    await stored.file.dispose();
    return true;
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.#files.keys()].map((id) => this.remove(id)));
  }
}

function noRoom(): ApiError {
  return new ApiError(507, 'There is no room for more files. Delete some: DELETE /v1/files/ID.', { param: 'file' });
}
