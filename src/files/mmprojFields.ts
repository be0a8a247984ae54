// What an mmproj file's metadata say: a vision tower and its projector as llama.cpp keeps them, in one GGUF file.
import * as v from 'valibot';
import { LongVLMError, messageOf } from '../base/errors.js';
import { parse } from '../base/schema.js';
import type { GgufFile } from './gguf.js';
import { wordIn } from './metadataValues.js';
import { weightsError } from './tensorFile.js';

const text = v.optional(v.string());

/** Checked access to an mmproj file's metadata. */
export class MmprojFields {
  readonly #file: GgufFile;

  /** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` when the file is no mmproj file. */
  constructor(file: GgufFile) {
    this.#file = file;
    const architecture = wordIn(file.metadata, 'general.architecture');
    if (architecture !== 'clip')
      throw new LongVLMError(
        'ERR_LONGVLM_UNSUPPORTED',
        `${file.path} is a GGUF file of architecture '${architecture}', not an mmproj file. Give the mmproj file that belongs to the language model.`,
      );
  }

  /** The kind of its projector by llama.cpp's word: `mlp` for those of the LLaVA family, linear ones, too. */
  projectorType(): string {
    return this.read('clip.projector_type', text) ?? this.read('clip.vision.projector_type', text) ?? 'mlp';
  }

  /** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` when its projector is not of the LLaVA family. */
  requireLlavaProjector(): void {
    const type = this.projectorType();
    if (type !== 'mlp')
      throw this.unsupported(
        `a projector of type '${type}' is not supported`,
        "Use a model of the LLaVA family, whose type is 'mlp'.",
      );
  }

  /** What `schema` makes of the value under `key`. @throws LongVLMError `ERR_LONGVLM_WEIGHTS` where it does not fit */
  read<const Schema extends v.GenericSchema>(key: string, schema: Schema): v.InferOutput<Schema> {
    try {
      return parse(schema, this.#file.metadata.get(key), key, key);
    } catch (error) {
      throw this.error(messageOf(error));
    }
  }

  /** @param cause why the file cannot be used */
  unsupported(cause: string, remedy: string): LongVLMError {
    return new LongVLMError('ERR_LONGVLM_UNSUPPORTED', `${this.#file.path}: ${cause}. ${remedy}`);
  }

  /** @param cause what is wrong with the file */
  error(cause: string): LongVLMError {
    return weightsError(this.#file.path, cause, 'Convert or download the mmproj file again.');
  }
}
