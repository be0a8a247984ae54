// Downloads that go on where they broke off, and are checked before they get their name.
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { LongVLMError, reasonOf } from '../../base/errors.js';
import { wait } from '../../base/wait.js';
import { writeError } from '../../base/writeError.js';
import { acquireLock, lockEnding } from '../../cache/lock.js';
import { secondsOf, withPatience } from './patience.js';

/** What is downloaded. */
export type Download = {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Where it goes when it is whole and right. */
  readonly path: string;
  readonly size: number;
  /** SHA-256 of the content (64 digits), or git's hash of it as a blob (40 digits); others cannot be checked. */
  readonly etag: string;
  /** How errors call it. */
  readonly name: string;
};

/** Options of {@link download}. */
export type DownloadOptions = {
  /** Called with the bytes that are there, those of an earlier try among them. */
  readonly onProgress?: (bytes: number) => void;
  readonly signal?: AbortSignal;
};

/** Where a download goes once it is whole, such as into a snapshot of its commit. */
export type Destination = {
  isThere(): Promise<boolean>;
  /** Called by one process at a time, with the whole file at `path`. */
  place(): Promise<unknown>;
};

// A connection that breaks is taken up again so often without a byte in between.
const maxFailures = 5;
const firstWaitMs = 250;
const progressBytes = 1 << 20;

/**
 * Downloads to `path`, by way of `path.incomplete`, which a later try goes on with, and from there to its destination. What has
 * the wrong size or hash is removed. Two processes or hosts do not download the same at once: one waits for the other.
 *
 * @throws LongVLMError `ERR_LONGVLM_HUB` when the server does not give it, or not what it should be; `ERR_LONGVLM_FILE` when it
 * cannot be written; `signal.reason`.
 */
export async function download(what: Download, destination: Destination, options: DownloadOptions = {}): Promise<void> {
  const { path, size } = what;
  await mkdir(dirname(path), { recursive: true }).catch((error: unknown) => Promise.reject(writeError(path, error)));
  const lockPath = path + lockEnding;
  for (;;) {
    const lock = await acquireLock(lockPath, { signal: options.signal }).catch((error: unknown) => {
      options.signal?.throwIfAborted();
      throw writeError(lockPath, error);
    });
    const isThere = async () => (await sizeOf(path)) === size || (await destination.isThere());
    try {
      // Another process may have finished it while this one waited.
      if (await destination.isThere()) return;
      if ((await isThere()) || (await fetchTo(what, lock.lost, options, isThere))) {
        await destination.place();
        return;
      }
    } finally {
      await lock.release();
    }
  }
}

/**
 * Fetches the file to its path.
 * @returns false when it has to be looked at again: while this process was suspended, another one went on with the download,
 * or has finished it
 */
async function fetchTo(
  what: Download,
  lost: AbortSignal,
  options: DownloadOptions,
  isThere: () => Promise<boolean>,
): Promise<boolean> {
  const { path } = what;
  try {
    await fetchAll(what, lost, options);
    await rename(`${path}.incomplete`, path).catch((error: unknown) => Promise.reject(writeError(path, error)));
    return true;
  } catch (error) {
    options.signal?.throwIfAborted();
    if (!lost.aborted && !(await isThere())) throw error;
    return false;
  }
}

/** @param lost aborts when another process writes to the file */
async function fetchAll(what: Download, lost: AbortSignal, { onProgress, signal }: DownloadOptions): Promise<void> {
  const partial = `${what.path}.incomplete`;
  const file = await open(partial, constants.O_RDWR | constants.O_CREAT, 0o644).catch((error: unknown) =>
    Promise.reject(writeError(partial, error)),
  );
  let whole = false;
  try {
    const target = new Target(file, what, lost, onProgress);
    await target.takeUp();
    for (let failures = 0; target.bytes < what.size; ) {
      lost.throwIfAborted();
      const { furthest } = target;
      let problem = await tryRest(what, target, signal);
      if (target.furthest > furthest) failures = 0;
      else problem ??= 'no more of it came';
      if (problem === undefined) continue;
      if (++failures >= maxFailures)
        throw hubError(what, `broke off at byte ${target.bytes} of ${what.size}: ${problem}`, goOn);
      await wait(firstWaitMs * 2 ** (failures - 1), signal);
    }
    await target.check();
    await file.sync();
    lost.throwIfAborted();
    whole = true;
  } catch (error) {
    // What was fetched so far serves the next try, but for content that is wrong.
    if (error instanceof WrongContent) await rm(partial, { force: true });
    if ((error as NodeJS.ErrnoException | null)?.syscall !== undefined) throw writeError(partial, error);
    throw error;
  } finally {
    await file.close();
    if (!whole && !lost.aborted && (await sizeOf(partial)) === 0) await rm(partial, { force: true });
  }
}

const goOn = 'Try again: it goes on from there.';

/** Fetches what is missing, or says what came in between. */
async function tryRest(what: Download, target: Target, signal: AbortSignal | undefined): Promise<string | undefined> {
  signal?.throwIfAborted();
  try {
    await withPatience(secondsOf('HF_HUB_DOWNLOAD_TIMEOUT'), signal, (limited, alive) =>
      fetchRest(what, target, limited, alive),
    );
    return undefined;
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof LongVLMError) throw error;
    return reasonOf(error);
  }
}

async function fetchRest(what: Download, target: Target, signal: AbortSignal, alive: () => void): Promise<void> {
  const range: Record<string, string> = target.bytes > 0 ? { Range: `bytes=${target.bytes}-` } : {};
  // Places in what is compressed are none in the file.
  const headers = { ...what.headers, ...range, 'Accept-Encoding': 'identity' };
  const response = await fetch(what.url, { headers, signal });
  if (response.status === 416) {
    await target.restart();
    return;
  }
  if (response.status >= 500) throw new Error(`the server says ${response.status} ${response.statusText}`);
  if (!response.ok || response.body === null)
    throw hubError(what, `is refused by the server: ${response.status} ${response.statusText}`, 'Try again later.');
  const start = response.status === 206 ? /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1] : 0;
  // A server that does not know ranges sends everything.
  if (Number(start) !== target.bytes) {
    await target.restart();
    if (response.status === 206) return;
  }
  for await (const chunk of response.body) {
    await target.append(chunk as Uint8Array);
    alive();
  }
}

class WrongContent extends LongVLMError {}

/** The file that grows, and the hash of what is in it. */
class Target {
  bytes = 0;
  /** The most bytes that there ever were. */
  furthest = 0;
  readonly #file: FileHandle;
  readonly #what: Download;
  readonly #lost: AbortSignal;
  readonly #onProgress: ((bytes: number) => void) | undefined;
  #hash: Hash | undefined;
  #reported = 0;

  constructor(file: FileHandle, what: Download, lost: AbortSignal, onProgress: ((bytes: number) => void) | undefined) {
    this.#file = file;
    this.#what = what;
    this.#lost = lost;
    this.#onProgress = onProgress;
    this.#hash = this.#newHash();
  }

  /** Starts with what an earlier try left. */
  async takeUp(): Promise<void> {
    const { size } = await this.#file.stat();
    if (size > this.#what.size) return this.restart();
    const buffer = Buffer.alloc(1 << 20);
    while (this.bytes < size) {
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, this.bytes);
      if (bytesRead === 0) break;
      this.#hash?.update(buffer.subarray(0, bytesRead));
      this.bytes += bytesRead;
    }
    this.furthest = this.bytes;
    this.#report(true);
  }

  async append(chunk: Uint8Array): Promise<void> {
    this.#lost.throwIfAborted();
    const { size } = this.#what;
    if (this.bytes + chunk.length > size) throw this.#wrong(`is longer than ${size} bytes`);
    for (let done = 0; done < chunk.length; ) {
      const { bytesWritten } = await this.#file
        .write(chunk, done, chunk.length - done, this.bytes + done)
        .catch((error: unknown) => Promise.reject(writeError(this.#what.path, error)));
      done += bytesWritten;
    }
    this.#hash?.update(chunk);
    this.bytes += chunk.length;
    this.furthest = Math.max(this.furthest, this.bytes);
    this.#report(this.bytes === size);
  }

  async restart(): Promise<void> {
    await this.#file.truncate(0);
    this.bytes = 0;
    this.#hash = this.#newHash();
  }

  async check(): Promise<void> {
    const found = this.#hash?.digest('hex');
    if (found !== undefined && found !== this.#what.etag)
      throw this.#wrong(`has the hash ${found}, where ${this.#what.etag} is due`);
  }

  #newHash(): Hash | undefined {
    const { etag, size } = this.#what;
    if (/^[0-9a-f]{64}$/.test(etag)) return createHash('sha256');
    if (/^[0-9a-f]{40}$/.test(etag)) return createHash('sha1').update(`blob ${size}\0`);
    return undefined;
  }

  #wrong(cause: string): LongVLMError {
    return new WrongContent(
      'ERR_LONGVLM_HUB',
      `${this.#what.name} ${cause}, so it was removed. Try again; if that does not help, the server or a proxy is at fault.`,
    );
  }

  #report(always: boolean): void {
    if (!always && this.bytes - this.#reported < progressBytes) return;
    this.#reported = this.bytes;
    this.#onProgress?.(this.bytes);
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  return stat(path).then(
    ({ size }) => size,
    () => undefined,
  );
}

/** @param cause follows the name of the file */
function hubError({ name }: Download, cause: string, remedy: string): LongVLMError {
  return new LongVLMError('ERR_LONGVLM_HUB', `${name} ${cause}. ${remedy}`);
}
