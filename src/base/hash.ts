import { createHash } from 'node:crypto';
import { LongVLMError } from './errors.js';
import { fileError } from './fileError.js';
import { printable } from './printable.js';
import { openRegularFile } from './regularFile.js';

const PIECE = 1 << 20;

/** SHA-256 of a value as JSON, independent of the order of keys. */
export function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value, sorted)).digest('hex');
}

function sorted(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * SHA-256 of a file's content.
 *
 * @throws LongVLMError `ERR_LONGVLM_FILE`, also when the file grows or shrinks meanwhile; `signal.reason`
 */
export async function hashFile(file: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const handle = await openRegularFile(file);
  try {
    const { size } = await handle.stat();
    const piece = new Uint8Array(PIECE);
    for (let done = 0; ; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(piece, 0, PIECE, done);
      done += bytesRead;
      // A file that something else writes to might never end.
      if (bytesRead === 0 ? done !== size : done > size)
        throw new LongVLMError(
          'ERR_LONGVLM_FILE',
          `${printable(file)} changed while it was read. Wait until it is complete.`,
        );
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(piece.subarray(0, bytesRead));
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw error instanceof LongVLMError ? error : fileError(file, error);
  } finally {
    await handle.close();
  }
}
