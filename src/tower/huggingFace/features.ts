// Which hidden states of its tower a LLaVA takes, by its configuration.
import * as v from 'valibot';
import { integer } from '../../base/schema.js';
import { type ConfigPart, isSet, partOf, readPart, unsupportedConfig } from '../../files/configFile.js';

/** What a LLaVA takes of its tower. */
export type Features = {
  /** Indices of hidden states, from 0 to the number of layers. */
  readonly patchLayers: readonly number[];
  /** Whether the first token of a frame stays. */
  readonly keepsFirst: boolean;
};

const strategy = v.object({ vision_feature_select_strategy: v.nullish(v.picklist(['default', 'full']), 'default') });

/**
 * Reads the features that a model takes.
 * @param type its `model_type`, by whose code absent values are completed
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED`, `ERR_LONGVLM_WEIGHTS`
 */
export function readFeatures(root: ConfigPart, type: string, layers: number): Features {
  if (partOf(root, 'image_aspect_ratio').value === 'pad')
    throw unsupportedConfig(
      root.file,
      "image_aspect_ratio 'pad' is of LLaVA's own code, which transformers does not read",
      'Remove it, and set do_pad in preprocessor_config.json if frames are to be padded.',
    );
  const name = type === 'vipllava' ? 'vision_feature_layers' : 'vision_feature_layer';
  const place = integer(-layers - 1, layers);
  const places = v.pipe(
    v.array(place),
    v.minLength(1, 'at least 1 layer'),
    v.maxLength(layers + 1, `at most ${layers + 1} layers`),
  );
  const part = partOf(root, name);
  const given = isSet(part) ? part : { ...part, value: defaults[type] ?? -2 };
  const found = [readPart(Array.isArray(given.value) ? places : place, given)].flat();
  const keepsFirst =
    type !== 'vipllava' &&
    (type === 'llava_onevision' && !isSet(partOf(root, 'vision_feature_select_strategy'))
      ? true
      : readPart(strategy, root, unsupportedConfig).vision_feature_select_strategy === 'full');
  return { patchLayers: found.map((layer) => (layer < 0 ? layers + 1 + layer : layer)), keepsFirst };
}

const defaults: Readonly<Record<string, number | readonly number[]>> = {
  vipllava: [-2, -5, -8, -11, 6],
  llava_onevision: -1,
};
