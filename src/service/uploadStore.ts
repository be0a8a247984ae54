// Uploads in parts, as OpenAI's API has them: a part that breaks off is sent again, and the file is there once it is complete.
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { longestTimer } from '../base/wait.js';
import { ApiError } from './apiError.js';
import type { FileObject, FileStore, NewFile, StoreLimits } from './fileStore.js';
import type { Received, UploadRoom, UploadSource } from './uploadRoom.js';

/** An upload as OpenAI's API describes it, with its parts. */
export type UploadObject = {
  readonly id: string;
  readonly object: 'upload';
  readonly bytes: number;
  readonly created_at: number;
  readonly expires_at: number;
  readonly filename: string;
  readonly purpose: string;
  readonly status: 'pending' | 'completed' | 'cancelled';
  readonly file: FileObject | null;
  /** Those that have come, in the order in which they did. */
  readonly parts: readonly { readonly id: string; readonly bytes: number }[];
};

/** A part as OpenAI's API describes it. */
export type PartObject = {
  readonly id: string;
  readonly object: 'upload.part';
  readonly created_at: number;
  readonly upload_id: string;
};

type Pending = NewFile & {
  readonly id: string;
  readonly bytes: number;
  readonly created: number;
  readonly parts: Map<string, Received>;
  /** Bytes of all its parts. */
  received: number;
  expires: number;
  expiry: NodeJS.Timeout | undefined;
  /** What it is made of, and the file, once it was completed. */
  completed: { readonly from: string; readonly file: Promise<FileObject> } | undefined;
  file: FileObject | undefined;
};

/** OpenAI's own limit of a part. */
const partBytes = 64 * 2 ** 20;
const mostParts = 10_000;

export class UploadStore {
  readonly #files: FileStore;
  readonly #room: UploadRoom;
  readonly #store: StoreLimits;
  readonly #uploads = new Map<string, Pending>();
  readonly #closing = new AbortController();

  constructor(files: FileStore, room: UploadRoom, store: StoreLimits) {
    this.#files = files;
    this.#room = room;
    this.#store = store;
  }

  /** @throws ApiError where there is no room for such a file */
  async begin(file: NewFile, bytes: number): Promise<UploadObject> {
    this.#files.checkCount(this.#uploads.size);
    await this.#room.check(bytes);
    const upload: Pending = {
      ...file,
      ...{ id: `upload_${randomUUID()}`, bytes, created: seconds(), parts: new Map(), received: 0, expires: 0 },
      ...{ expiry: undefined, completed: undefined, file: undefined },
    };
    this.#uploads.set(upload.id, upload);
    this.#renew(upload);
    return describe(upload);
  }

  /** @throws ApiError if there is none of that id */
  describe(id: string): UploadObject {
    return describe(this.#find(id));
  }

  /**
   * Writes a part as it comes.
   * @throws ApiError for a part that is too large, that does not come, or for which there is no room
   */
  async addPart(id: string, source: UploadSource, signal: AbortSignal): Promise<PartObject> {
    const upload = this.#find(id);
    checkPending(upload);
    if (upload.parts.size >= mostParts)
      throw new ApiError(400, `The upload has ${mostParts} parts. Send larger ones.`, { param: 'data' });
    // A part whose answer was lost is sent twice.
    const left = 2 * upload.bytes + partBytes - upload.received;
    if (left <= 0)
      throw new ApiError(400, 'The parts have more bytes than the upload. Begin a new one.', { param: 'data' });
    this.#renew(upload);
    const received = await this.#room.receive(source, { ending: '', signal, maxBytes: Math.min(partBytes, left) });
    if (this.#uploads.get(id) !== upload || upload.completed) {
      await this.#room.remove(received);
      checkPending(this.#find(id));
    }
    const part = `part_${randomUUID()}`;
    upload.parts.set(part, received);
    upload.received += received.bytes;
    this.#renew(upload);
    return { id: part, object: 'upload.part', created_at: seconds(), upload_id: id };
  }

  /**
   * Makes the file of its parts, in the order in which they are named. Who asks again, as the answer was lost, gets the same file.
   * @throws ApiError for parts that are not there, or do not make the file that was announced
   */
  async complete(id: string, partIds: readonly string[], md5: string | undefined): Promise<UploadObject> {
    const upload = this.#find(id);
    const from = partIds.join();
    if (upload.completed && upload.completed.from !== from)
      throw new ApiError(400, 'The upload is complete already, with other parts.', { param: 'part_ids' });
    if (!upload.completed) {
      const parts = partsOf(upload, partIds);
      const completed = { from, file: this.#join(upload, parts, md5) };
      upload.completed = completed;
      completed.file.catch(() => (upload.completed = undefined));
    }
    upload.file = await upload.completed.file;
    return describe(upload);
  }

  /** Gives an upload up, with all of its parts. @throws ApiError for one that is complete */
  async cancel(id: string): Promise<UploadObject> {
    const upload = this.#find(id);
    checkPending(upload);
    await this.#remove(upload);
    return describe(upload, 'cancelled');
  }

  /** Removes all parts. */
  async dispose(): Promise<void> {
    this.#closing.abort(new ApiError(503, 'The service stops. Ask again later.'));
    await Promise.all([...this.#uploads.values()].map((upload) => this.#remove(upload)));
  }

  #find(id: string): Pending {
    const upload = this.#uploads.get(id);
    if (upload === undefined)
      throw new ApiError(404, 'There is no such upload, or its time is over. Begin a new one.', { param: 'id' });
    return upload;
  }

  async #join(upload: Pending, parts: readonly Received[], md5: string | undefined): Promise<FileObject> {
    const hash = createHash('md5');
    const source = Readable.from(
      joined(parts, (piece) => hash.update(piece)),
      { highWaterMark: 1 },
    );
    const file = await this.#files.add(source, upload, this.#closing.signal);
    if (md5 !== undefined && hash.digest('hex') !== md5.toLowerCase()) {
      await this.#files.remove(file.id);
      throw new ApiError(400, 'The file has another MD5 than was given. Send its parts again.', { param: 'md5' });
    }
    await this.#removeParts(upload);
    return file;
  }

  /** Its time begins anew. */
  #renew(upload: Pending): void {
    const ms = Math.min(this.#store.pendingSeconds * 1000, longestTimer);
    upload.expires = Math.floor((Date.now() + ms) / 1000);
    clearTimeout(upload.expiry);
    upload.expiry = setTimeout(() => void this.#remove(upload).catch(() => {}), ms).unref();
  }

  async #remove(upload: Pending): Promise<void> {
    this.#uploads.delete(upload.id);
    clearTimeout(upload.expiry);
    await upload.completed?.file.catch(() => {});
    await this.#removeParts(upload);
  }

  async #removeParts({ parts }: Pending): Promise<void> {
    const all = [...parts.values()];
    parts.clear();
    await Promise.all(all.map((part) => this.#room.remove(part)));
  }
}

function describe(upload: Pending, status?: 'cancelled'): UploadObject {
  const { id, bytes, created, expires, filename, purpose, file, parts } = upload;
  return {
    ...{ id, object: 'upload', bytes, created_at: created, expires_at: expires, filename, purpose },
    status: status ?? (file ? 'completed' : 'pending'),
    file: file ?? null,
    parts: [...parts].map(([part, { bytes }]) => ({ id: part, bytes })),
  };
}

function checkPending({ completed }: Pending): void {
  if (completed)
    throw new ApiError(400, 'The upload is complete already. Name its file, or delete it.', { param: 'id' });
}

/** The parts of those ids. @throws ApiError where they do not make the announced file */
function partsOf({ parts, bytes }: Pending, ids: readonly string[]): Received[] {
  const wrong = (message: string) => new ApiError(400, message, { param: 'part_ids' });
  if (new Set(ids).size < ids.length) throw wrong('A part is named twice. Name each once.');
  const named = ids.map((id, index) => {
    const part = parts.get(id);
    if (part === undefined) throw wrong(`There is no part part_ids[${index}] of this upload. Send it again.`);
    return part;
  });
  const sum = named.reduce((total, part) => total + part.bytes, 0);
  if (sum !== bytes) throw wrong(`The parts have ${sum} bytes, and the upload was announced with ${bytes}.`);
  return named;
}

async function* joined(parts: readonly Received[], onPiece: (piece: Buffer) => void): AsyncGenerator<Buffer> {
  for (const { file } of parts)
    for await (const piece of createReadStream(file.path, { highWaterMark: 1 << 20 })) {
      onPiece(piece);
      yield piece;
    }
}

function seconds(): number {
  return Math.floor(Date.now() / 1000);
}
