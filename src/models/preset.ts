import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import * as v from 'valibot';
import { LongVLMError, messageOf } from '../base/errors.js';
import { resizes } from '../base/resize.js';
import { integer, nonEmptyString, number, parse } from '../base/schema.js';
import type { SamplingRequest } from '../encode/sampling.js';
import { type PromptTemplate, type PromptTemplateName, resolvePromptTemplate } from '../llm/templates.js';

/** Models that belong together, with the settings they were trained with. They replace the defaults of `LongVLM.load()`. */
export type ModelUse = SamplingRequest & {
  /** Undefined if the tower is in the projector's file. */
  readonly vision?: string;
  /** Undefined if the tower has its own. */
  readonly projector?: string;
  readonly llm: string;
  /** Undefined if it is the tower's own. */
  readonly template?: PromptTemplateName | PromptTemplate;
  readonly temperature?: number;
};

const useRecord = v.object({
  frames: integer(1),
  segmentFrames: integer(1),
  tokensPerSegment: integer(1),
  globalLayers: integer(0),
  resize: v.picklist(resizes),
  temperature: number(0),
  template: v.union([v.string(), v.looseObject({})]),
  mergeHeads: v.optional(integer(1)),
  reduction: v.optional(nonEmptyString),
});

/**
 * Reads a preset: a folder with `clip/`, `projector.safetensors`, `llm.gguf` and `preset.json`, which holds settings by their
 * names in {@link LongVLMOptions}. The weights are not read.
 *
 * @param remedy a sentence for the error message: how to get a complete folder
 * @throws LongVLMError `ERR_LONGVLM_PRESET` when the folder is missing, incomplete or damaged
 */
export function readPreset(name: string, folder: string, remedy: string): ModelUse {
  const models = {
    vision: path.join(folder, 'clip'),
    projector: path.join(folder, 'projector.safetensors'),
    llm: path.join(folder, 'llm.gguf'),
  };
  const description = path.join(folder, 'preset.json');
  try {
    for (const file of [description, path.join(models.vision, 'model.safetensors'), models.projector, models.llm])
      if (!existsSync(file)) throw new Error(`${file} does not exist`);
    return { ...models, ...readUse(description) };
  } catch (error) {
    throw new LongVLMError(
      'ERR_LONGVLM_PRESET',
      `The model '${name}' is missing, incomplete or damaged: ${messageOf(error)}. ${remedy}`,
      { cause: error },
    );
  }
}

function readUse(file: string): Omit<ModelUse, 'vision' | 'projector' | 'llm'> {
  // Other keys are informative, or for later releases.
  const { template, mergeHeads, reduction, ...use } = parse(useRecord, JSON.parse(readFileSync(file, 'utf8')), file);
  const named = template as NonNullable<ModelUse['template']>;
  resolvePromptTemplate(named);
  return {
    ...use,
    template: named,
    ...(mergeHeads !== undefined && { mergeHeads }),
    ...(reduction !== undefined && { reduction }),
  };
}
