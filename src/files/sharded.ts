// Weights in several shards, with an index that names each tensor's shard: Hugging Face's `….index.json`.
import { basename, dirname, join } from 'node:path';
import { LongVLMError, messageOf } from '../base/errors.js';
import { Pace } from '../base/pace.js';
import { exists, readSmallFile } from '../base/regularFile.js';
import { type JsonLimits, jsonEntries, parseJson } from './jsonEntries.js';
import { type TensorLocation, type WeightFile, weightsError } from './tensorFile.js';

/** The tensors of all shards that exist. Missing shards are allowed: a tower or a projector may need only some of them. */
export type ShardedFile = WeightFile & { readonly format: 'sharded' };

// The largest models have some 100,000 tensors in some hundred shards, and 10 MB of names.
const maxIndexBytes = 32 << 20;
const maxNames = 500_000;
const maxShards = 2000;
const openAtOnce = 16;

/**
 * @param open opens one shard
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the index or an existing shard cannot be read; `ERR_LONGVLM_WEIGHTS` when the
 * index is damaged, or a shard lacks a tensor that the index names; errors of `open`.
 */
export async function openSharded(path: string, open: (path: string) => Promise<WeightFile>): Promise<ShardedFile> {
  const fileOf = await readIndex(path);
  const names = [...new Set(fileOf.values())];
  if (names.length > maxShards) throw weightsError(path, `it names ${names.length} files, more than any model has`);
  const files = await openAll(dirname(path), names, open);
  const tensors = new Map<string, TensorLocation>();
  const absent = new Map<string, string>();
  const pace = new Pace();
  for (const [name, file] of fileOf) {
    if (pace.isDue) await pace.rest();
    const shard = files.get(file);
    const tensor = shard?.tensors.get(name);
    if (tensor) tensors.set(name, tensor);
    else if (!shard) absent.set(name, join(dirname(path), file));
    else throw weightsError(shard.path, `tensor ${name} is missing, which ${basename(path)} says is in it`);
  }
  return { format: 'sharded', path, tensors, absent };
}

async function openAll(
  folder: string,
  names: readonly string[],
  open: (path: string) => Promise<WeightFile>,
): Promise<Map<string, WeightFile | undefined>> {
  const files = new Map<string, WeightFile | undefined>();
  for (let first = 0; first < names.length; first += openAtOnce)
    await Promise.all(
      names.slice(first, first + openAtOnce).map(async (name) => {
        const file = join(folder, name);
        files.set(name, (await exists(file)) ? await open(file) : undefined);
      }),
    );
  return files;
}

/**
 * The shard of each tensor, by tensor name.
 * @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS`
 */
export async function readIndex(path: string): Promise<Map<string, string>> {
  const bytes = await readSmallFile(path, maxIndexBytes);
  if (bytes === undefined)
    throw weightsError(path, `an index of more than ${maxIndexBytes} bytes, more than any model has`);
  const wrong = (reason: string) =>
    weightsError(path, `its weight_map does not name a file beside it for each tensor (${reason})`);
  const fileOf = new Map<string, string>();
  try {
    for await (const { key, value, within } of jsonEntries(bytes, limitsOf)) {
      if (within !== mapKey) continue;
      const file = parseJson(value);
      if (!isFileBeside(file))
        throw wrong(`Expected ${wantedFor(file)} for weight_map.${key} but received ${shown(file)}`);
      if (fileOf.has(key)) throw wrong(`${key} occurs twice`);
      fileOf.set(key, file);
      if (fileOf.size > maxNames) throw wrong(`more than ${maxNames} tensors`);
    }
  } catch (error) {
    throw error instanceof LongVLMError ? error : wrong(messageOf(error));
  }
  if (fileOf.size === 0) throw wrong(noTensors);
  return fileOf;
}

const noTensors = 'Expected at least one tensor for weight_map';
const nameLimits: JsonLimits = { items: 10, bytes: 4096 };
const otherLimits: JsonLimits = { items: 100_000, bytes: 1 << 20 };
const mapKey = 'weight_map';

function limitsOf(key: string, within: string | undefined): JsonLimits | 'entries' {
  if (within !== undefined) return nameLimits;
  return key === mapKey ? 'entries' : otherLimits;
}

// Shards are in the index's folder: names that lead elsewhere are rejected, on any platform, and those that no file has.
function isFileBeside(name: unknown): name is string {
  return typeof name === 'string' && /^(?!\.\.?$)[^/\\:\p{Cc}]{1,255}$/u.test(name);
}

function wantedFor(value: unknown): string {
  return typeof value === 'string' ? 'name of a file beside it' : 'string';
}

function shown(value: unknown): string {
  return typeof value === 'string' ? `'${value}'` : String(value);
}
