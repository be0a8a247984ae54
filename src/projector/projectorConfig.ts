// What the config.json beside a projector's weights says about how it is computed.
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { isFolder } from '../base/regularFile.js';
import { positiveNumber } from '../base/schema.js';
import { type Activation, activations } from '../compute/activations.js';
import {
  type ConfigPart,
  isSet,
  partOf,
  readConfigFileIfThere,
  readPart,
  unsupportedConfig,
} from '../files/configFile.js';
import type { TrainedStates } from './family.js';

/** How a projector is computed. */
export type ProjectorConfig = {
  /** The activation between two layers. */
  readonly activation: Activation;
  readonly hasBias: boolean;
  /** Of the normalisation before the first layer, where there is one. */
  readonly epsilon: number;
  /** LLaVA's own name of the kind; undefined where it is not named. */
  readonly type: string | undefined;
  /** The hidden states that it takes; undefined where they are not named. */
  readonly trainedStates?: TrainedStates;
};

// What is absent or null has the value of Hugging Face's LlavaConfig and VipLlavaConfig.
const fields = v.object({
  multimodal_projector_bias: v.nullish(v.boolean(), true),
  projector_layernorm_eps: v.nullish(v.pipe(positiveNumber, v.maxValue(1, 'positive number of at most 1')), 1e-5),
  mm_projector_type: v.nullish(v.string()),
});
const choices = v.object({ projector_hidden_act: v.nullish(v.picklist(activations), 'gelu') });

/** A projector whose files say nothing else: that of LLaVA. */
export const plainProjector: ProjectorConfig = { activation: 'gelu', hasBias: true, epsilon: 1e-5, type: undefined };

/**
 * @param path the weights, or the folder that they are in
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for an unknown activation; `ERR_LONGVLM_WEIGHTS` for a damaged file
 */
export async function readProjectorConfig(path: string): Promise<ProjectorConfig> {
  const folder = (await isFolder(path)) ? path : dirname(path);
  const root = await readConfigFileIfThere(join(folder, 'config.json'));
  if (!root) return plainProjector;
  const {
    multimodal_projector_bias: hasBias,
    projector_layernorm_eps: epsilon,
    mm_projector_type,
  } = readPart(fields, root);
  const refuse = (file: string, cause: string) => unsupportedConfig(file, cause, 'Use a projector with one of these.');
  const { projector_hidden_act: activation } = readPart(choices, root, refuse);
  return { activation, hasBias, epsilon, type: mm_projector_type ?? undefined, ...statesIn(root) };
}

const layer = v.pipe(v.number('integer'), v.safeInteger('integer'));

// The names of Hugging Face's LLaVA and VipLLaVA, and of LLaVA's own code, each with the value that keeps the class token.
const stateNames = [
  ['vision_feature_layer', 'vision_feature_select_strategy', 'full'],
  ['vision_feature_layers', undefined, undefined],
  ['mm_vision_select_layer', 'mm_vision_select_feature', 'cls_patch'],
] as const;

function statesIn(root: ConfigPart): { trainedStates?: TrainedStates } {
  for (const [name, choice, kept] of stateNames) {
    const part = partOf(root, name);
    if (!isSet(part)) continue;
    const layers = [readPart(Array.isArray(part.value) ? v.array(layer) : layer, part)].flat();
    return { trainedStates: { layers, keepsClassToken: choice !== undefined && partOf(root, choice).value === kept } };
  }
  return {};
}
