// Weights that had to be written out anew, kept so that it happens once.
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder, makeCacheFolder } from '../cacheFolder.js';
import { openSafetensors, type SafetensorsFile, type TensorData, writeSafetensors } from './safetensors.js';

// Tower and projector of a file are loaded at the same time, and want the same.
const underWay = new Map<string, Promise<SafetensorsFile>>();

/**
 * The tensors that are kept under `key`, made now where there are none.
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the cache cannot be written; what making them throws.
 */
export function cachedWeights(key: string, make: () => Record<string, TensorData>): Promise<SafetensorsFile> {
  const path = join(cacheFolder('weights'), `${key}.safetensors`);
  const found = underWay.get(path);
  if (found) return found;
  const making = openOrMake(path, make).finally(() => underWay.delete(path));
  underWay.set(path, making);
  return making;
}

async function openOrMake(path: string, make: () => Record<string, TensorData>): Promise<SafetensorsFile> {
  try {
    return await openSafetensors(path);
  } catch {
    // None yet, or one that was damaged from outside: written again, whole.
  }
  await makeCacheFolder('weights');
  await writeSafetensors(path, make());
  return openSafetensors(path);
}

/** A file of the cache. */
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
