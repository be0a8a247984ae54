// Opens weight files of any format. The format is detected from the content, because file names are unreliable (Ollama's have no extension).
import { join } from 'node:path';
import { LongVLMError } from '../base/errors.js';
import { printable } from '../base/printable.js';
import { exists, isFolder, readBeginning } from '../base/regularFile.js';
import { checkString } from '../base/validate.js';
import { type GgufFile, openGguf } from './gguf.js';
import { openPytorch, type PytorchFile } from './pytorch.js';
import { openSafetensors, type SafetensorsFile } from './safetensors.js';
import { openSharded, type ShardedFile } from './sharded.js';
import { weightsError } from './tensorFile.js';
import { foreignFileError, headBytes, type WeightFormat, weightFormat } from './whatIsThis.js';

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
  const file = await findWeights(checkString('path', path));
  if (file.endsWith('.index.json')) return openSharded(file, openOne);
  return openOne(file);
}

/** Whether `path` is a GGUF file. */
export async function isGguf(path: string): Promise<boolean> {
  return (await formatOf(path)) === 'gguf';
}

/** The format of a weights file; undefined for any other file. @throws LongVLMError `ERR_LONGVLM_FILE` */
export async function formatOf(path: string): Promise<WeightFormat | undefined> {
  return weightFormat(await readBeginning(path, headBytes));
}

async function findWeights(path: string): Promise<string> {
  if (!(await isFolder(path))) return path;
  for (const name of names) {
    const file = join(path, name);
    if (await exists(file)) return file;
  }
  if (await exists(join(path, 'adapter_config.json')))
    throw new LongVLMError(
      'ERR_LONGVLM_FILE',
      `${printable(path)} holds an adapter (LoRA) of a model. Merge it into the model it was trained for, and give the merged one.`,
    );
  throw new LongVLMError(
    'ERR_LONGVLM_FILE',
    `${printable(path)} holds none of ${names.join(', ')}. Give the file that holds the weights.`,
  );
}

async function openOne(path: string): Promise<SafetensorsFile | GgufFile | PytorchFile> {
  const opened = await openFormat(path);
  const names = [...opened.tensors.keys()];
  if (names.length > 0 && names.every((name) => adapterName.test(name)))
    throw weightsError(
      path,
      'it is an adapter (LoRA) of a model',
      'Merge it into the model it was trained for, and give the merged one.',
    );
  return opened;
}

// As PEFT and others name them.
const adapterName = /[._](lora_(A|B|embedding_[AB]|magnitude_vector|up|down)|hada_w\d_[ab]|ia3_l)\b|\.alpha$|_lora\./;

async function openFormat(path: string): Promise<SafetensorsFile | GgufFile | PytorchFile> {
  const head = await readBeginning(path, headBytes);
  const format = weightFormat(head);
  if (format === 'gguf') return openGguf(path);
  if (format === 'zip' || format === 'pickle') return openPytorch(path);
  if (format === 'safetensors') return openSafetensors(path);
  if (head.toString('latin1', 0, 2) === '\x80\x02')
    throw weightsError(path, 'it is a bare pickle of Python', 'Save the state_dict() of the model by torch.save.');
  throw (
    foreignFileError(path, head) ??
    weightsError(path, 'of no kind of weights that can be read', 'Give a .safetensors, .gguf or PyTorch file.')
  );
}
