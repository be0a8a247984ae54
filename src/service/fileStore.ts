// Uploaded files, which the process keeps in its own folder for temporary files.
import { randomUUID } from 'node:crypto';
import { extname } from 'node:path';
import { longestTimer } from '../base/wait.js';
import { noRoom, type Received, type UploadRoom, type UploadSource } from './uploadRoom.js';

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

/** What is said of a file that comes. */
export type NewFile = { readonly filename: string; readonly purpose: string; readonly client: string };

type Stored = Received & {
  readonly described: FileObject;
  readonly client: string;
  readonly expiry: NodeJS.Timeout;
};

/** How much is kept, and for how long. */
export type StoreLimits = {
  readonly mostBytes: number;
  readonly mostFiles: number;
  readonly keepSeconds: number;
  /** For how long an upload in parts waits for the next one. */
  readonly pendingSeconds: number;
};

/** The uploads of one service. Whoever knows a file's id may ask about it; only who uploaded it sees it listed. */
export class FileStore {
  readonly #room: UploadRoom;
  readonly #store: StoreLimits;
  readonly #files = new Map<string, Stored>();

  constructor(room: UploadRoom, store: StoreLimits) {
    this.#room = room;
    this.#store = store;
  }

  /** @throws ApiError where there are too many files */
  checkCount(more = 0): void {
    if (this.#files.size + more >= this.#store.mostFiles) throw noRoom();
  }

  /**
   * Writes a file as it comes.
   * @throws as {@link UploadRoom.receive}
   */
  async add(source: UploadSource, file: NewFile, signal: AbortSignal): Promise<FileObject> {
    this.checkCount();
    const ending = /^\.[a-z0-9]{1,5}$/i.exec(extname(file.filename))?.[0] ?? '';
    return this.#keep(await this.#room.receive(source, { ending, signal }), file);
  }

  #keep(received: Received, { filename, purpose, client }: NewFile): FileObject {
    const id = `file-${randomUUID()}`;
    const created = Math.floor(Date.now() / 1000);
    const { keepSeconds } = this.#store;
    const described: FileObject = {
      ...{ id, object: 'file', bytes: received.bytes, created_at: created },
      ...{ expires_at: Math.floor(created + keepSeconds), filename, purpose, status: 'processed' },
    };
    const expiry = setTimeout(() => this.remove(id), Math.min(keepSeconds * 1000, longestTimer)).unref();
    this.#files.set(id, { ...received, described, client, expiry });
    return described;
  }

  /** The file's path; undefined if there is none of that id. */
  pathOf(id: string): string | undefined {
    return this.#files.get(id)?.file.path;
  }

  describe(id: string): FileObject | undefined {
    return this.#files.get(id)?.described;
  }

  /** Says what a file is for. */
  setPurpose(id: string, purpose: string | undefined): FileObject | undefined {
    const stored = this.#files.get(id);
    if (stored === undefined || purpose === undefined) return undefined;
    const described = { ...stored.described, purpose };
    this.#files.set(id, { ...stored, described });
    return described;
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
    clearTimeout(stored.expiry);
    await this.#room.remove(stored);
    return true;
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.#files.keys()].map((id) => this.remove(id)));
  }
}
