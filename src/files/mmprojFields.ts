// What an mmproj file's metadata say: a vision tower and its projector as llama.cpp keeps them, in one GGUF file.
import { LongVLMError } from '../base/errors.js';
import type { GgufFile, GgufValue } from './gguf.js';
import { weightsError } from './tensorFile.js';

/** Checked access to an mmproj file's metadata. */
export class MmprojFields {
  readonly #file: GgufFile;

  /** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` when the file is no mmproj file. */
  constructor(file: GgufFile) {
    this.#file = file;
    const architecture = file.metadata.get('general.architecture');
    if (architecture !== 'clip')
      throw new LongVLMError(
        'ERR_LONGVLM_UNSUPPORTED',
        `${file.path} is a GGUF file of architecture '${architecture}', not an mmproj file. Give the mmproj file that belongs to the language model.`,
      );
  }

  /** The kind of its projector by llama.cpp's word: `mlp` for those of the LLaVA family, linear ones, too. */
  projectorType(): string {
    return this.#text('clip.projector_type') ?? this.#text('clip.vision.projector_type') ?? 'mlp';
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

  /** A positive integer. */
  size(key: string): number {
    const value = this.#file.metadata.get(key);
    if (typeof value === 'number' && Number.isSafeInteger(value) && value > 0) return value;
    throw this.#wrong(key, 'a positive integer');
  }

  /** A positive number. */
  number(key: string): number {
    const value = this.#file.metadata.get(key);
    if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
    throw this.#wrong(key, 'a positive number');
  }

  /** Three numbers, one a channel. */
  triple(key: string): [number, number, number] {
    const value = this.#file.metadata.get(key);
    if (Array.isArray(value) && value.length === 3 && value.every((v) => typeof v === 'number' && Number.isFinite(v)))
      return value as [number, number, number];
    throw this.#wrong(key, 'a list of three numbers');
  }

  /** A list of integers, or undefined where there is none. */
  integers(key: string): readonly number[] | undefined {
    const value = this.#file.metadata.get(key);
    if (value === undefined) return undefined;
    const list: readonly GgufValue[] = Array.isArray(value) ? value : [value as GgufValue];
    if (list.every((v) => typeof v === 'number' && Number.isSafeInteger(v))) return list as readonly number[];
    throw this.#wrong(key, 'a list of integers');
  }

  /** A switch, off where there is none. */
  flag(key: string): boolean {
    const value = this.#file.metadata.get(key) ?? false;
    if (typeof value === 'boolean') return value;
    throw this.#wrong(key, 'true or false');
  }

  /** @param cause why the file cannot be used */
  unsupported(cause: string, remedy: string): LongVLMError {
    return new LongVLMError('ERR_LONGVLM_UNSUPPORTED', `${this.#file.path}: ${cause}. ${remedy}`);
  }

  /** @param cause what is wrong with the file */
  error(cause: string): LongVLMError {
    return weightsError(this.#file.path, cause, 'Convert or download the mmproj file again.');
  }

  #text(key: string): string | undefined {
    const value = this.#file.metadata.get(key);
    if (value === undefined || typeof value === 'string') return value;
    throw this.#wrong(key, 'a string');
  }

  #wrong(key: string, expected: string): LongVLMError {
    const value = this.#file.metadata.get(key);
    if (value === undefined) return this.error(`${key} is missing`);
    const shown = JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? String(v) : v)).slice(0, 100);
    return this.error(`${key} is ${shown} where ${expected} is needed`);
  }
}
