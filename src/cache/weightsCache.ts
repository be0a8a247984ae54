// Weights that had to be written out anew, kept so that it happens once.
import { readdir, rm, stat, utimes } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { raceAbort } from '../base/abort.js';
import { abandonedMs, removeHalfWritten } from '../base/wholeFile.js';
import { openSafetensors, type SafetensorsFile, type TensorData, writeSafetensors } from '../files/safetensors.js';
import { cacheFolder, makeCacheFolder } from './cacheFolder.js';

/** Weights to be kept. */
export type WeightsToKeep = {
  /** Identity of what they are made from, and of how. */
  readonly key: string;
  /** What they are, for whoever lists the cache. */
  readonly name: string;
  readonly make: () => Record<string, TensorData>;
};

const ending = '.safetensors';
// A model that is no longer asked gives its room back, a gigabyte or more, when the next one is written out.
const unusedMs = 30 * 24 * 3600 * 1000;

// Tower and projector of a file are loaded at the same time, and want the same.
const underWay = new Map<string, Promise<SafetensorsFile>>();

/**
 * The tensors that are kept under a key, made now where there are none.
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the cache cannot be written; what making them throws; `signal.reason`
 */
export async function cachedWeights(wanted: WeightsToKeep, signal?: AbortSignal): Promise<SafetensorsFile> {
  const path = join(cacheFolder('weights'), wanted.key + ending);
  for (;;) {
    const others = underWay.get(path);
    if (!others) break;
    try {
      return await raceAbort(others, signal);
    } catch {
      // Whoever made them gave up, or failed, which is then seen below.
      signal?.throwIfAborted();
    }
  }
  const making = openOrMake(path, wanted, signal).finally(() => underWay.delete(path));
  underWay.set(path, making);
  return making;
}

async function openOrMake(
  path: string,
  { name, make }: WeightsToKeep,
  signal: AbortSignal | undefined,
): Promise<SafetensorsFile> {
  try {
    const kept = await openSafetensors(path);
    const now = new Date();
    await utimes(path, now, now).catch(() => {});
    return kept;
  } catch {
    // None yet, or one that was damaged from outside: written again, whole.
  }
  const folder = await makeCacheFolder('weights');
  // Before, not after: the room may be needed.
  await removeHalfWritten(folder, Date.now() - abandonedMs);
  for (const { file, lastUsed } of await listWeights())
    if (Date.now() - lastUsed.getTime() > unusedMs) await rm(file, { force: true }).catch(() => {});
  await writeSafetensors(path, make(), { name }, signal);
  return openSafetensors(path);
}

/** A file of the cache, and what it is. */
export type CachedWeights = {
  readonly file: string;
  readonly name: string;
  readonly bytes: number;
  readonly lastUsed: Date;
};

/** What is in the cache, last used first. */
export async function listWeights(): Promise<CachedWeights[]> {
  const folder = cacheFolder('weights');
  const found: CachedWeights[] = [];
  for (const entry of await readdir(folder).catch(() => [])) {
    if (!entry.endsWith(ending)) continue;
    const file = join(folder, entry);
    const stats = await stat(file).catch(() => undefined);
    if (stats?.isFile()) found.push({ file, name: await nameOf(file), bytes: stats.size, lastUsed: stats.mtime });
  }
  return found.sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime());
}

/** A file that cannot be read is one that will be made again. */
async function nameOf(file: string): Promise<string> {
  const opened = await openSafetensors(file).catch(() => undefined);
  return opened?.metadata.name ?? basename(file);
}

/** Removes everything. @returns what was removed */
export async function clearWeights(): Promise<CachedWeights[]> {
  const removed = await listWeights();
  for (const { file } of removed) await rm(file, { force: true });
  await removeHalfWritten(cacheFolder('weights'));
  return removed;
}
