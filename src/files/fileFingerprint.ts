import { createHash } from 'node:crypto';
import { openFile, readBytes } from './tensorFile.js';

const stretchBytes = 1 << 16;
const stretches = 256;

/**
 * A fingerprint of a weight file, independent of its path: SHA-256 of its length and of 256 samples of 64 KiB, spread evenly
 * from the first to the last byte. Gigabytes take a few milliseconds. Shorter files are hashed as a whole.
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
