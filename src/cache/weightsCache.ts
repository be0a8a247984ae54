// Weights that had to be written out anew, kept so that it happens once.
import { basename } from 'node:path';
import type { OnProgress } from '../base/progress.js';
import { openSafetensors, type SafetensorsFile, type TensorData, writeSafetensors } from '../files/safetensors.js';
import { cacheFolder, makeCacheFolder } from './cacheFolder.js';
import { type CachedFile, FolderCache } from './folderCache.js';
import { safetensorsMark } from './mark.js';
import type { CallOptions } from './sharedWork.js';

/** Weights to be kept. */
export type WeightsToKeep = {
  /** Identity of what they are made from, and of how. */
  readonly key: string;
  /** Path of the weights that they are made from. */
  readonly source: string;
  /** What they are written out as, for whoever lists the cache. */
  readonly type: 'float32' | 'int8';
  /** Fails when the weights that they are made from are no longer those that the key was made of. */
  readonly make: (signal: AbortSignal) => Record<string, TensorData>;
};

const folderName = 'weights';
const ending = '.safetensors';
const formatName = 'longvlm.weights';
// The second is in files of older releases.
const mark = safetensorsMark(`{"__metadata__":{"format":"${formatName}"`, '{"__metadata__":{"name":"');
/** Age at which the space of a model that is no longer used, a gigabyte or more, goes to the next one. */
const maxAgeMs = 30 * 24 * 3600 * 1000;

/**
 * The tensors that are kept under a key, made now where there are none.
 * @param options `onProgress` is called with the tensors written, in the stage `convert`, where they are made
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the cache cannot be written; what making them throws; `signal.reason`
 */
export async function cachedWeights(wanted: WeightsToKeep, options: CallOptions = {}): Promise<SafetensorsFile> {
  const { key, source, type, make } = wanted;
  const cache = new FolderCache(await makeCacheFolder(folderName), ending, { maxAgeMs, mark });
  await cache.checkFolder('Set LONGVLM_CACHE to another folder.');
  const name = basename(source);
  const recipe = {
    read: (file: string) => openSafetensors(file).catch(() => undefined),
    make: async (file: string, signal: AbortSignal, onProgress: OnProgress) => {
      const metadata = { format: formatName, name: `${name} in ${type}` };
      await writeSafetensors(file, counted(make(signal), name, onProgress), metadata, signal);
      return openSafetensors(file);
    },
  };
  return cache.getOrMake(key, recipe, options);
}

async function valuesOf({ data }: TensorData): Promise<ArrayBufferView> {
  return typeof data === 'function' ? data() : data;
}

/** The same tensors, which report when they are read to be written. */
function counted(
  tensors: Record<string, TensorData>,
  name: string,
  onProgress: OnProgress,
): Record<string, TensorData> {
  const entries = Object.entries(tensors);
  let done = 0;
  const report = () => onProgress({ stage: 'convert', done, total: entries.length, unit: 'tensors', name });
  report();
  const data = (tensor: TensorData) => async () => {
    const values = await valuesOf(tensor);
    done++;
    report();
    return values;
  };
  return Object.fromEntries(entries.map(([key, tensor]) => [key, { ...tensor, data: data(tensor) }]));
}

/** A file of the cache, and what it is. */
export type CachedWeights = CachedFile & { readonly name: string };

/** What is in the cache, last used first. @throws LongVLMError `ERR_LONGVLM_FILE` when its folder cannot be read */
export async function listWeights(): Promise<CachedWeights[]> {
  const files = await existing().list();
  return Promise.all(files.map(async (found) => ({ ...found, name: await nameOf(found.file) })));
}

/** A file that cannot be read is one that will be made again. */
async function nameOf(file: string): Promise<string> {
  const opened = await openSafetensors(file).catch(() => undefined);
  return opened?.metadata.name ?? basename(file);
}

/** Removes everything. @returns what was removed. @throws as {@link FolderCache.clear} */
export function clearWeights(): Promise<CachedFile[]> {
  return existing().clear();
}

function existing(): FolderCache {
  return new FolderCache(cacheFolder(folderName), ending, { mark });
}
