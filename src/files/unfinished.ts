// Downloads that reserve the whole file first look whole when they are not: their end is still zeros.
import type { FileHandle } from 'node:fs/promises';
import { readBytes, weightsError } from './tensorFile.js';

const sampleBytes = 4096;
const samples = 16;
// No weights end with so many zeros: a vocabulary that was padded has a few rows of them.
const tailShare = 1 / 64;
const minFileBytes = 16 << 20;

/**
 * @param dataStart where the tensors begin
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when the last part of a large file is nothing but zeros, and another part is not.
 */
export async function checkFinished(
  handle: FileHandle,
  path: string,
  dataStart: number,
  fileBytes: number,
): Promise<void> {
  if (fileBytes < minFileBytes) return;
  const tailStart = Math.floor(fileBytes * (1 - tailShare));
  if (!(await areZeros(handle, path, tailStart, fileBytes))) return;
  if (tailStart - dataStart < sampleBytes || (await areZeros(handle, path, dataStart, tailStart))) return;
  throw weightsError(path, 'its end is nothing but zeros, as a download leaves it that was not finished');
}

/** Whether all samples between two places are zeros. */
async function areZeros(handle: FileHandle, path: string, start: number, end: number): Promise<boolean> {
  const step = (end - start - sampleBytes) / (samples - 1);
  for (let i = 0; i < samples; i++) {
    const bytes = await readBytes(handle, path, Math.floor(start + i * step), sampleBytes);
    if (bytes.some((byte) => byte !== 0)) return false;
  }
  return true;
}
