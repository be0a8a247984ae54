import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { fileError, openFile, readBytes } from '../weights/tensorFile.js';

/** SHA-256 of a value as JSON, whatever the order of keys. */
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

const stretchBytes = 1 << 16;
const stretches = 256;

/**
 * Tells files of weights apart, wherever they lie: SHA-256 of their length and of 256 stretches of 64 KiB spread evenly from
 * first to last byte, so that gigabytes take some milliseconds; of a file that is shorter, of the whole.
 */
export async function weightsFingerprint(file: string): Promise<string> {
  const handle = await openFile(file);
  try {
    const { size } = await handle.stat();
    const hash = createHash('sha256').update(`${size} bytes`);
    const whole = size <= stretches * stretchBytes;
    const step = whole ? 0 : (size - stretchBytes) / (stretches - 1);
    for (let i = 0; i < (whole ? 1 : stretches); i++)
      hash.update(await readBytes(handle, file, Math.floor(i * step), whole ? size : stretchBytes));
    return hash.digest('hex');
  } finally {
    await handle.close();
  }
}
