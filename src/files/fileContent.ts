// Digests of what files hold, every byte of it.
import { createHash, webcrypto } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { openRegularFile } from '../base/regularFile.js';
import { severalAtOnce } from '../base/severalAtOnce.js';
import { readInto } from './tensorFile.js';

/** A stretch of a file. */
export type Stretch = { readonly file: string; readonly offset: number; readonly byteLength: number };

const chunkBytes = 2 << 20;
/** As many as libuv has threads: they read and hash, and the event loop does neither. */
export const poolThreads = 4;

/**
 * Of each stretch, SHA-256 of its length and of the SHA-256 of each of its 2 MiB.
 * @throws LongVLMError `ERR_LONGVLM_FILE`, or `ERR_LONGVLM_WEIGHTS` for a file that is too short; `signal.reason`
 */
export async function digests(stretches: readonly Stretch[], signal?: AbortSignal): Promise<string[]> {
  const handles = new Map<string, FileHandle>();
  try {
    for (const { file } of stretches) if (!handles.has(file)) handles.set(file, await openRegularFile(file));
    const chunks = stretches.flatMap((stretch, index) =>
      Array.from({ length: Math.ceil(stretch.byteLength / chunkBytes) }, (_, chunk) => ({ index, chunk })),
    );
    const found = stretches.map((): Uint8Array[] => []);
    const buffers = Array.from({ length: poolThreads }, () => new Uint8Array(chunkBytes));
    await severalAtOnce(chunks, poolThreads, async ({ index, chunk }, place) => {
      signal?.throwIfAborted();
      const { file, offset, byteLength } = stretches[index]!;
      const start = chunk * chunkBytes;
      const bytes = buffers[place]!.subarray(0, Math.min(chunkBytes, byteLength - start));
      await readInto(bytes, handles.get(file)!, file, offset + start);
      found[index]![chunk] = new Uint8Array(await webcrypto.subtle.digest('SHA-256', bytes));
    });
    return stretches.map(({ byteLength }, index) => {
      const hash = createHash('sha256').update(`${byteLength} bytes`);
      for (const part of found[index]!) hash.update(part);
      return hash.digest('hex');
    });
  } finally {
    await Promise.all([...handles.values()].map((handle) => handle.close()));
  }
}

/**
 * What changes whenever a file is written to or replaced: its device, inode, size, and the times at which its content and
 * its inode last changed. Nobody but the superuser can set the last one.
 */
export async function stateOf(file: string): Promise<BigIntStats> {
  const handle = await openRegularFile(file);
  try {
    return await handle.stat({ bigint: true });
  } finally {
    await handle.close();
  }
}
