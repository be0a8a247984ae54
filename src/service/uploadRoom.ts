// Disk space for uploads. What has come counts at once, so that files that come together do not fill the disk.
import { statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import type { Readable } from 'node:stream';
import { LongVLMError } from '../base/errors.js';
import { nodeSource, readWithin } from '../video/byteSource.js';
import { FetchBudget } from '../video/fetchBudget.js';
import { checkLimits, type SettledLimits, type VideoLimits } from '../video/limits.js';
import { type TemporaryFile, writeTemporaryFile } from '../video/temporaryFile.js';
import { ApiError } from './apiError.js';

/** Bytes that came, as a file. */
export type Received = { readonly file: TemporaryFile; readonly bytes: number };

/** What an upload is read from. */
export type UploadSource = Readable;

export class UploadRoom {
  readonly #limits: SettledLimits;
  readonly #mostBytes: number;
  #bytes = 0;

  /**
   * @param limits of one file: bytes, and times of its upload
   * @param mostBytes of all together
   */
  constructor(limits: VideoLimits, mostBytes: number) {
    this.#limits = checkLimits(limits);
    this.#mostBytes = mostBytes;
  }

  /** The most bytes of one file. */
  get maxBytes(): number {
    return this.#limits.maxBytes;
  }

  /** @throws ApiError where so many bytes cannot be taken */
  async check(bytes: number): Promise<void> {
    if (bytes > this.maxBytes)
      throw new ApiError(413, `The file is larger than ${this.maxBytes} bytes. Give a smaller one.`, { param: 'file' });
    if (this.#bytes + bytes > this.#mostBytes) throw noRoom();
    const { bavail, bsize } = await statfs(tmpdir());
    if (bytes > bavail * bsize) throw noRoom();
  }

  /**
   * Writes what comes to a file. Nothing of it stays where it fails.
   * @param ending of the file's name
   * @throws ApiError for what is too large or does not come, or for which there is no room; `signal.reason`
   */
  async receive(
    source: UploadSource,
    { ending, signal, maxBytes = this.maxBytes }: { ending: string; signal: AbortSignal; maxBytes?: number },
  ): Promise<Received> {
    const budget = new FetchBudget({ ...this.#limits, maxBytes: Math.min(maxBytes, this.maxBytes) }, signal);
    budget.begin('file');
    let received = 0;
    const count = (bytes: number) => {
      this.#bytes += bytes - received;
      received = bytes;
      if (this.#bytes > this.#mostBytes) throw noRoom();
    };
    try {
      const file = await writeTemporaryFile(ending, readWithin(nodeSource(source), budget, count));
      return { file, bytes: received };
    } catch (error) {
      this.#bytes -= received;
      source.destroy();
      if (error instanceof LongVLMError && error.code === 'ERR_LONGVLM_FETCH')
        throw new ApiError(error.message.includes('is larger') ? 413 : 408, error.message, { param: 'file' });
      if (/ENOSPC|EDQUOT|EFBIG/.test((error as LongVLMError).message)) throw noRoom(error);
      throw error;
    } finally {
      budget.dispose();
    }
  }

  /** Removes what was received. */
  async remove({ file, bytes }: Received): Promise<void> {
    this.#bytes -= bytes;
    await file.dispose();
  }
}

export function noRoom(cause?: unknown): ApiError {
  return new ApiError(507, 'There is no room for more files. Delete some: DELETE /v1/files/ID.', {
    param: 'file',
    cause,
  });
}
