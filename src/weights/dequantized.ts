// Quantised weights cannot be run where they lie: they are written out once, as float32, into the cache.
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder } from '../cacheFolder.js';
import { dequantize, isQuantized } from './dequantize.js';
import { fingerprint } from './fingerprint.js';
import { openSafetensors, writeSafetensors } from './safetensors.js';
import {
  bytesPerElement,
  type ElementType,
  fileError,
  openFile,
  readBytes,
  type TensorLocation,
  type WeightFile,
} from './tensorFile.js';

// Tower and projector of a file are loaded at the same time, and want the same.
const underWay = new Map<string, Promise<WeightFile>>();

/**
 * `file` itself where nothing in it is quantised; else the same tensors in a cached file, which is made now when there is
 * none. Tensors of types that cannot be read at all are left out of it.
 *
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the cache cannot be written; what reading `file` throws.
 */
export async function withoutQuantization(file: WeightFile): Promise<WeightFile> {
  const tensors = [...file.tensors.values()];
  if (!tensors.some(({ type }) => isQuantized(type))) return file;
  const names = tensors.map(({ name }) => name);
  const path = join(cacheFolder('weights'), `${await fingerprint(names, tensors)}.safetensors`);
  const found = underWay.get(path);
  if (found) return found;
  const making = openOrMake(path, tensors).finally(() => underWay.delete(path));
  underWay.set(path, making);
  return making;
}

async function openOrMake(path: string, tensors: readonly TensorLocation[]): Promise<WeightFile> {
  try {
    return await openSafetensors(path);
  } catch {
    // None yet, or one that was damaged from outside: written again, whole.
  }
  await mkdir(cacheFolder('weights'), { recursive: true }).catch((error: unknown) =>
    Promise.reject(fileError(cacheFolder('weights'), error)),
  );
  const known = tensors.filter(({ type }) => isQuantized(type) || bytesPerElement(type) !== undefined);
  await writeSafetensors(path, Object.fromEntries(known.map((tensor) => [tensor.name, inFloats(tensor)])));
  return openSafetensors(path);
}

// Read one at a time, when they are written: a tower takes more than a gigabyte.
function inFloats(tensor: TensorLocation) {
  const { type, shape } = tensor;
  const bytes = () => readWhole(tensor);
  if (!isQuantized(type)) return { type: type as ElementType, shape, data: bytes };
  return { type: 'F32' as const, shape, data: async () => dequantize(type, await bytes()) };
}

async function readWhole({ file, offset, byteLength }: TensorLocation): Promise<Uint8Array> {
  const handle = await openFile(file);
  try {
    return await readBytes(handle, file, offset, byteLength);
  } finally {
    await handle.close();
  }
}

/** A cached file. */
export type CachedWeights = { readonly file: string; readonly bytes: number; readonly lastUsed: Date };

/** What is in the cache, last used first. */
export async function listWeights(): Promise<CachedWeights[]> {
  const folder = cacheFolder('weights');
  const found: CachedWeights[] = [];
  for (const name of await readdir(folder).catch(() => [])) {
    const file = join(folder, name);
    const stats = await stat(file).catch(() => undefined);
    if (stats?.isFile()) found.push({ file, bytes: stats.size, lastUsed: stats.mtime });
  }
  return found.sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime());
}

/** Removes everything. @returns what was removed */
export async function clearWeights(): Promise<CachedWeights[]> {
  const removed = await listWeights();
  for (const { file } of removed) await rm(file, { force: true });
  return removed;
}
