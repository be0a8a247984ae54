// References to models on the hub: `hf:owner/repo`.
import { dirname, posix } from 'node:path';
import { LongVLMError } from '../../base/errors.js';
import { readIndex } from '../../files/sharded.js';
import { candidateNames, chooseGguf, type GgufRole, listed } from './choice.js';
import { fetchFile, type HubOptions, listFiles, type Repo } from './hub.js';
import { isWithinRepo } from './repo.js';

/** `hf:owner/repo[@revision][:quantisation]` or `hf:owner/repo[@revision]/file`. */
export type HubReference = { readonly repo: Repo; readonly file?: string; readonly quantization?: string };

/** Picks the names of the tensors that a role needs. */
export type NamesIn = (names: readonly string[]) => readonly string[];

/** The kind of model that a reference is resolved to. */
export type ModelRole = 'vision' | 'projector' | 'llm';

// A revision may be a reference of git, as in @refs/pr/1.
const pattern = /^hf:([\w.-]+\/[\w.-]+)(?:@(refs\/[\w.-]+\/[\w.-]+|[\w.-]+))?(?::([\w.-]+)|\/(.+))?$/;

export function isHubReference(text: string): boolean {
  return text.startsWith('hf:');
}

/** @throws RangeError if `text` is not a reference */
export function parseReference(text: string): HubReference {
  const [, name, revision = 'main', quantization, file] = pattern.exec(text) ?? [];
  const isSafe = [name, revision, file].every((part) => part === undefined || isWithinRepo(part));
  if (name === undefined || !isSafe)
    throw new RangeError(
      `Expected hf:owner/repo, hf:owner/repo:Q4_K_M or hf:owner/repo/file.gguf, with @revision behind repo if need be, but received ${JSON.stringify(text)}`,
    );
  return {
    repo: { name, revision },
    ...(file !== undefined && { file }),
    ...(quantization !== undefined && { quantization }),
  };
}

/**
 * Downloads the model of a reference: a GGUF file; for a projector also LLaVA's `mm_projector.safetensors` or `.bin`; for a
 * vision tower or a projector also weights in Hugging Face's own format, of which only the needed shards are downloaded.
 *
 * @param namesIn picks the tensors that are needed. Defaults to all
 * @throws RangeError if `text` is not a reference; LongVLMError `ERR_LONGVLM_HUB` if the repository has no suitable file or
 * several models, and as {@link fetchFile}
 */
export async function fetchModel(
  text: string,
  role: ModelRole,
  options: HubOptions = {},
  namesIn: NamesIn = (names) => names,
): Promise<string> {
  const reference = parseReference(text);
  const { repo, file, quantization } = reference;
  if (file !== undefined) {
    if (role !== 'llm' && !/\.gguf$/i.test(file))
      await fetchConfigs(repo, await listFiles(repo, options), options, posix.dirname(file));
    return fetchFile(repo, file, options);
  }
  const files = await listFiles(repo, options);
  const kind: GgufRole = role === 'vision' ? 'projector' : role;
  const chosen = chooseGguf(files, kind, repo.name, quantization);
  if (chosen !== undefined) {
    const parts = await Promise.all(chosen.map((name) => fetchFile(repo, name, options)));
    return parts[0]!;
  }
  const own = ['mm_projector.safetensors', 'mm_projector.bin'].find((name) => files.includes(name));
  // Far smaller than the weights of the whole model.
  if (role === 'projector' && quantization === undefined && own !== undefined) {
    await fetchConfigs(repo, files, options);
    return fetchFile(repo, own, options);
  }
  if (role !== 'llm' && quantization === undefined && files.includes('config.json'))
    return fetchWeights(repo, files, options, namesIn);
  const candidates = candidateNames(files, kind);
  const there = candidates.length > 0 ? ` It has ${listed(candidates)}.` : '';
  throw new LongVLMError(
    'ERR_LONGVLM_HUB',
    `${repo.name} holds no ${role === 'llm' ? 'language model' : 'mmproj file'}${quantization === undefined ? '' : ` in ${quantization}`} as GGUF.${there} Name a file: hf:${repo.name}/file.gguf.`,
  );
}

// Names of weight files or indices, preferred first.
const wholeModels = [
  'model.safetensors',
  'model.safetensors.index.json',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
];

// Of pictures and of videos; the first holds both since version 5 of transformers.
const processors = ['processor_config.json', 'preprocessor_config.json', 'video_preprocessor_config.json'];

/** Downloads what says how a folder's tower and projector are computed, as far as it is there; returns its config.json. */
async function fetchConfigs(
  repo: Repo,
  files: readonly string[],
  options: HubOptions,
  folder = '.',
): Promise<string | undefined> {
  let path: string | undefined;
  for (const name of [...processors, 'config.json']) {
    const file = posix.join(folder, name);
    path = files.includes(file) ? await fetchFile(repo, file, options) : undefined;
  }
  return path;
}

/** Downloads the tower or the projector of a model in Hugging Face's format: its configuration, and the weight files that hold it. */
async function fetchWeights(
  repo: Repo,
  files: readonly string[],
  options: HubOptions,
  namesIn: NamesIn,
): Promise<string> {
  const config = await fetchConfigs(repo, files, options);
  const weights = wholeModels.find((name) => files.includes(name));
  if (weights === undefined) return dirname(config!);
  const path = await fetchFile(repo, weights, options);
  if (!weights.endsWith('.index.json')) return path;
  const fileOf = await readIndex(path);
  const needed = new Set(namesIn([...fileOf.keys()]).map((tensor) => fileOf.get(tensor)!));
  for (const name of needed) await fetchFile(repo, name, options);
  return path;
}
