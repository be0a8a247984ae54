// Weights in several shards, with an index that names each tensor's shard: Hugging Face's `….index.json`.
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import * as v from 'valibot';
import { messageOf } from '../base/errors.js';
import { fileError } from '../base/fileError.js';
import { parse } from '../base/schema.js';
import { type TensorLocation, type WeightFile, weightsError } from './tensorFile.js';

/** The tensors of all shards that exist. Missing shards are allowed: a tower or a projector may need only some of them. */
export type ShardedFile = WeightFile & { readonly format: 'sharded' };

/**
 * @param open opens one shard
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the index or an existing shard cannot be read; `ERR_LONGVLM_WEIGHTS` when the
 * index is damaged, or a shard lacks a tensor that the index names; errors of `open`.
 */
export async function openSharded(path: string, open: (path: string) => Promise<WeightFile>): Promise<ShardedFile> {
  const fileOf = await readIndex(path);
  const names = [...new Set(fileOf.values())];
  const openThere = async (file: string) => ((await isThere(file)) ? open(file) : undefined);
  const opened = await Promise.all(names.map((name) => openThere(join(dirname(path), name))));
  const files = new Map(names.map((name, index) => [name, opened[index]]));
  const tensors = new Map<string, TensorLocation>();
  const absent = new Map<string, string>();
  for (const [name, file] of fileOf) {
    const shard = files.get(file);
    const tensor = shard?.tensors.get(name);
    if (tensor) tensors.set(name, tensor);
    else if (!shard) absent.set(name, join(dirname(path), file));
    else throw weightsError(shard.path, `tensor ${name} is missing, which ${basename(path)} says is in it`);
  }
  return { format: 'sharded', path, tensors, absent };
}

// Shards are in the index's folder: names that lead elsewhere are rejected.
const fileBeside = v.pipe(v.string(), v.regex(/^(?!\.\.?$)[^/\\]+$/, 'name of a file beside it'));
const indexSchema = v.object({
  weight_map: v.pipe(v.record(v.string(), fileBeside), v.minEntries(1, 'at least one tensor')),
});

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code !== 'ENOENT',
  );
}

/**
 * The shard of each tensor, by tensor name.
 * @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS`
 */
export async function readIndex(path: string): Promise<Map<string, string>> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => Promise.reject(fileError(path, error)));
  try {
    return new Map(Object.entries(parse(indexSchema, JSON.parse(text), 'the index').weight_map));
  } catch (error) {
    throw weightsError(path, `its weight_map does not name a file beside it for each tensor (${messageOf(error)})`);
  }
}
