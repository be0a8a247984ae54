// Finds the records of a zip archive.
import type { FileHandle } from 'node:fs/promises';
import yauzl from 'yauzl';

/** The location of a record's bytes in the archive. */
export type ZipRecord = {
  readonly offset: number;
  readonly byteLength: number;
  /** Whether the record is stored without compression and encryption. */
  readonly stored: boolean;
};

/** The records of an archive, by name. @throws Error if the file is not a complete zip archive */
export async function readZipRecords(handle: FileHandle): Promise<Map<string, ZipRecord>> {
  const { size } = await handle.stat();
  const reader = new GuardedReader(handle, size);
  return Promise.race([read(reader, size), reader.failed]);
}

async function read(reader: GuardedReader, size: number): Promise<Map<string, ZipRecord>> {
  const records = new Map<string, ZipRecord>();
  const zip = await yauzl.fromRandomAccessReaderPromise(reader, size);
  for await (const entry of zip.eachEntry()) {
    const { fileDataStart } = await zip.readLocalFileHeaderPromise(entry, { minimal: true });
    const stored = entry.compressionMethod === 0 && !entry.isEncrypted();
    records.set(entry.fileName, { offset: fileDataStart, byteLength: entry.compressedSize, stored });
  }
  return records;
}

/**
 * Guards yauzl against damaged archives. For these, yauzl reads beyond the end of the file and throws errors that cannot be
 * caught; this reader rejects such reads through `failed`.
 */
class GuardedReader extends yauzl.RandomAccessReader {
  readonly failed: Promise<never>;
  readonly #handle: FileHandle;
  readonly #size: number;
  #fail: (error: unknown) => void = () => {};

  constructor(handle: FileHandle, size: number) {
    super();
    this.#handle = handle;
    this.#size = size;
    this.failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
    // The rejection may come after the race, when nobody awaits it.
    this.failed.catch(() => {});
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null, bytesRead?: number) => void,
  ): void {
    const done = (error: Error | null, bytesRead?: number) => {
      try {
        callback(error, bytesRead);
      } catch (thrown) {
        this.#fail(thrown);
      }
    };
    if (!(position >= 0 && position + length <= this.#size)) {
      const error = new Error(`it points at byte ${position + length} of ${this.#size}`);
      setImmediate(done, error);
      return;
    }
    this.#handle.read(buffer, offset, length, position).then(({ bytesRead }) => done(null, bytesRead), done);
  }

  // The caller owns the handle, so it is not closed here.
  override close(callback: (error: Error | null) => void): void {
    setImmediate(callback, null);
  }
}
