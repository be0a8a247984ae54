import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { fileError } from './fileError.js';

/** SHA-256 of a value as JSON, independent of the order of keys. */
export function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value, sorted)).digest('hex');
}

function sorted(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** SHA-256 of a file's content. @throws LongVLMError `ERR_LONGVLM_FILE`; `signal.reason` */
export async function hashFile(file: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20, signal })) hash.update(chunk as Buffer);
  } catch (error) {
    signal?.throwIfAborted();
    throw fileError(file, error);
  }
  return hash.digest('hex');
}
