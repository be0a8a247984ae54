// GGUF files that are whole, and yet none that can be loaded by itself.
import { basename, dirname, join } from 'node:path';
import { LongVLMError } from '../base/errors.js';
import { printable } from '../base/printable.js';
import { exists } from '../base/regularFile.js';
import { numberIn } from './metadataValues.js';
import { weightsError } from './tensorFile.js';

/**
 * Refuses a part that is not the first one, a first part that lacks others, a language model with its vision tower in one
 * file, and what is no model.
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS`; `ERR_LONGVLM_FILE` when a part does not exist
 */
export async function checkGgufUse(
  path: string,
  metadata: ReadonlyMap<string, unknown>,
  tensors: ReadonlyMap<string, unknown>,
): Promise<void> {
  const kind = metadata.get('general.type');
  if (kind === 'adapter' || metadata.has('adapter.type'))
    throw weightsError(path, 'it is an adapter (LoRA) of a model', 'Give the model itself, or one it was merged into.');
  if (kind === 'imatrix') throw weightsError(path, 'it is an importance matrix', 'Give the model itself.');
  await checkParts(path, numberIn(metadata, 'split.no', 0), numberIn(metadata, 'split.count', 1));
  const architecture = metadata.get('general.architecture');
  if (architecture === undefined || architecture === 'clip') return;
  for (const name of tensors.keys())
    if (/^(v|mm)\./.test(name))
      throw weightsError(
        path,
        'it holds a language model and its vision tower in one file, as Ollama makes them',
        'Give the two files that llama.cpp uses: the language model, and its mmproj file.',
      );
}

// llama.cpp finds the others by these names.
const partName = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/s;
// The largest models have some hundred; a hostile file could claim 65,535.
const maxParts = 1000;

async function checkParts(path: string, index: number, count: number): Promise<void> {
  if (!(count > 1)) return;
  if (count > maxParts) throw weightsError(path, `damaged: it claims to be one of ${count} parts`);
  const base = partName.exec(basename(path))?.[1];
  const named = (part: number) => `${base}-${digits(part)}-of-${digits(count)}.gguf`;
  if (index !== 0)
    throw weightsError(
      path,
      `it is part ${index + 1} of ${count} of a model`,
      `Give the first part${base === undefined ? '' : `, ${printable(named(1))}`}, and keep the others beside it.`,
    );
  if (base === undefined || basename(path) !== named(1))
    throw weightsError(
      path,
      `it is part 1 of ${count} of a model, and its name does not say so`,
      `Name it as it was, like NAME-${digits(1)}-of-${digits(count)}.gguf, and keep the others beside it.`,
    );
  for (let part = 2; part <= count; part++) {
    const other = join(dirname(path), named(part));
    if (await exists(other)) continue;
    throw new LongVLMError(
      'ERR_LONGVLM_FILE',
      `${printable(other)} does not exist, which is part ${part} of ${count} of the model. Download it, too.`,
    );
  }
}

function digits(part: number): string {
  return String(part).padStart(5, '0');
}
