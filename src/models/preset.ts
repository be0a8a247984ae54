import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { LongVLMError, messageOf } from '../base/errors.js';
import { checkObject, wrongType } from '../base/validate.js';
import { checkOptions, type LongVLMOptions } from '../load/options.js';

const requiredKeys = [
  'frames',
  'segmentFrames',
  'tokensPerSegment',
  'globalLayers',
  'resize',
  'temperature',
  'template',
] as const;
const optionalKeys = ['mergeHeads', 'reduction'] as const;

type UseOptions = Required<Pick<LongVLMOptions, (typeof requiredKeys)[number]>> &
  Pick<LongVLMOptions, (typeof optionalKeys)[number]>;
type ModelOptions = Required<Pick<LongVLMOptions, 'vision' | 'projector' | 'llm'>>;

/** Models that belong together, and how they were trained to be used. */
export type Preset = {
  readonly name: string;
  /** What LongVLM.load() takes where its caller says nothing else. */
  readonly options: Readonly<ModelOptions & UseOptions>;
};

/**
 * Reads a preset: a folder with `clip/`, `projector.safetensors`, `llm.gguf`, and in `preset.json` how they are used, by
 * the names in {@link LongVLMOptions}. The weights themselves are not read.
 *
 * @param remedy how one comes by a whole folder, as a sentence
 * @throws LongVLMError `ERR_LONGVLM_PRESET` when the folder is missing, incomplete or damaged
 */
export function readPreset(name: string, folder: string, remedy: string): Preset {
  const models: ModelOptions = {
    vision: path.join(folder, 'clip'),
    projector: path.join(folder, 'projector.safetensors'),
    llm: path.join(folder, 'llm.gguf'),
  };
  const description = path.join(folder, 'preset.json');
  try {
    for (const file of [description, path.join(models.vision, 'model.safetensors'), models.projector, models.llm])
      if (!existsSync(file)) throw new Error(`${file} does not exist`);
    return { name, options: { ...models, ...readUse(description) } };
  } catch (error) {
    throw new LongVLMError(
      'ERR_LONGVLM_PRESET',
      `The model '${name}' is missing, incomplete or damaged: ${messageOf(error)}. ${remedy}`,
      { cause: error },
    );
  }
}

function readUse(file: string): UseOptions {
  const given = checkObject(file, JSON.parse(readFileSync(file, 'utf8')) as Partial<UseOptions>);
  for (const key of requiredKeys) if (given[key] === undefined) wrongType(key, `value in ${file}`, undefined);
  checkOptions(given);
  // Other keys are for people, or for a later release.
  const known = [...requiredKeys, ...optionalKeys].filter((key) => given[key] !== undefined);
  return Object.fromEntries(known.map((key) => [key, given[key]])) as UseOptions;
}
