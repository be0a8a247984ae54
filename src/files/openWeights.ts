// Opens weight files of any format. The format is detected from the content, because file names are unreliable (Ollama's have no extension).
import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { LongVLMError } from '../base/errors.js';
import { type GgufFile, openGguf } from './gguf.js';
import { openPytorch, type PytorchFile } from './pytorch.js';
import { openSafetensors, type SafetensorsFile } from './safetensors.js';
import { openSharded, type ShardedFile } from './sharded.js';
import { openFile, weightsError } from './tensorFile.js';

/** Weights that can be used in place. */
export type AnyWeightFile = SafetensorsFile | GgufFile | PytorchFile | ShardedFile;

// Names of weight files in a model's folder, preferred first.
const names = [
  'model.safetensors',
  'model.safetensors.index.json',
  'mm_projector.safetensors',
  'mm_projector.bin',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
];

/**
 * Opens a .safetensors file, a .gguf file, a file of torch.save, the index of a sharded model, or a folder with one of these.
 *
 * @throws LongVLMError `ERR_LONGVLM_FILE` when it cannot be read; `ERR_LONGVLM_WEIGHTS` when it is damaged or of an unknown
 * format.
 */
export async function openWeights(path: string): Promise<AnyWeightFile> {
  const file = await findWeights(path);
  if (file.endsWith('.index.json')) return openSharded(file, openOne);
  return openOne(file);
}

/** Whether `path` is a GGUF file. */
export async function isGguf(path: string): Promise<boolean> {
  return (await kindOf(path)) === 'gguf';
}

async function findWeights(path: string): Promise<string> {
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isFolder) return path;
  for (const name of names) {
    const file = join(path, name);
    if (await isThere(file)) return file;
  }
  throw new LongVLMError(
    'ERR_LONGVLM_FILE',
    `${path} holds none of ${names.join(', ')}. Give the file that holds the weights.`,
  );
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function openOne(path: string): Promise<SafetensorsFile | GgufFile | PytorchFile> {
  switch (await kindOf(path)) {
    case 'gguf':
      return openGguf(path);
    case 'zip':
      return openPytorch(path);
    case 'pickle':
      throw weightsError(
        path,
        'it was saved by PyTorch before 1.6, or is a bare pickle',
        'Load it in a newer PyTorch and save it again.',
      );
    case 'safetensors':
      return openSafetensors(path);
    case undefined:
      throw weightsError(path, 'of no kind of weights that can be read', 'Give a .safetensors, .gguf or PyTorch file.');
  }
}

async function kindOf(path: string): Promise<'gguf' | 'zip' | 'pickle' | 'safetensors' | undefined> {
  const handle = await openFile(path);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(9), 0, 9, 0);
    const word = buffer.toString('latin1', 0, bytesRead);
    // safetensors first: it starts with a length, whose bytes may look like any other format.
    if (word[8] === '{') return 'safetensors';
    if (word.startsWith('GGUF')) return 'gguf';
    if (word.startsWith('PK\x03\x04')) return 'zip';
    // Pickle protocol 2: torch.save before PyTorch 1.6.
    return word.startsWith('\x80\x02') ? 'pickle' : undefined;
  } finally {
    await handle.close();
  }
}
