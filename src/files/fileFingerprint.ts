import { createHash } from 'node:crypto';
import { openFile, readBytes } from './tensorFile.js';

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
