import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { openFile, readBytes, type TensorLocation } from './tensorFile.js';

const sampleBytes = 4096;
const samples = 16;

/**
 * A fingerprint of weights: SHA-256 of `description` and, for each tensor in order, of its type, shape and bytes. Tensors above
 * 64 KiB are sampled: 16 samples of 4 KiB, spread evenly from the first to the last byte. Training or converting a model
 * changes nearly every value, so samples tell models apart, and gigabytes take a few milliseconds. Names and positions in files
 * do not matter.
 */
export async function fingerprint(description: unknown, tensors: readonly TensorLocation[]): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(description));
  const handles = new Map<string, FileHandle>();
  try {
    for (const { type, shape, file, offset, byteLength } of tensors) {
      const handle = handles.get(file) ?? (await openFile(file));
      handles.set(file, handle);
      hash.update(`${type}[${shape}]`);
      const whole = byteLength <= samples * sampleBytes;
      const step = whole ? 0 : (byteLength - sampleBytes) / (samples - 1);
      for (let i = 0; i < (whole ? 1 : samples); i++)
        hash.update(await readBytes(handle, file, offset + Math.floor(i * step), whole ? byteLength : sampleBytes));
    }
  } finally {
    await Promise.all([...handles.values()].map((handle) => handle.close()));
  }
  return hash.digest('hex');
}
