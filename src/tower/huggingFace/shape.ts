// The sizes of a vision tower in a Hugging Face configuration.
import * as v from 'valibot';
import { integer } from '../../base/schema.js';
import { type Activation, activations } from '../../compute/activations.js';
import { type ConfigPart, damagedConfig, partOf, readPart, unsupportedConfig } from '../../files/configFile.js';
import { epsilon } from '../fields.js';

/** The sizes of a tower of square frames, and how it computes. */
export type VisionShape = {
  /** Channels of a token: C. */
  readonly channels: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Width and height of a frame in pixels: S. */
  readonly imageSize: number;
  readonly patchSize: number;
  /** Patches of one frame: N. */
  readonly patches: number;
  readonly activation: Activation;
  readonly layerNormEpsilon: number;
};

/** The values of what is absent or null in a configuration, by its names. */
export type ShapeDefaults = {
  readonly image_size: number;
  readonly patch_size: number;
  readonly num_hidden_layers: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_attention_heads: number;
  readonly layer_norm_eps: number;
  readonly hidden_act: Activation;
};

const size = (fallback: number) => v.nullish(integer(1), fallback);

/**
 * Reads the sizes of a tower.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for an unknown activation, or other than three colours; `ERR_LONGVLM_WEIGHTS`
 * for damaged or contradicting values
 */
export function readVisionShape(tower: ConfigPart, defaults: ShapeDefaults): VisionShape {
  const fields = readPart(
    v.object({
      image_size: size(defaults.image_size),
      patch_size: size(defaults.patch_size),
      num_hidden_layers: size(defaults.num_hidden_layers),
      hidden_size: size(defaults.hidden_size),
      intermediate_size: size(defaults.intermediate_size),
      num_attention_heads: size(defaults.num_attention_heads),
      layer_norm_eps: v.nullish(epsilon, defaults.layer_norm_eps),
    }),
    tower,
  );
  const choices = v.object({
    hidden_act: v.nullish(v.picklist(activations), defaults.hidden_act),
    num_channels: v.nullish(v.literal(3), 3),
  });
  const { hidden_act: activation } = readPart(choices, tower, unsupportedConfig);
  const { hidden_size: channels, num_attention_heads: heads, image_size: imageSize, patch_size: patchSize } = fields;
  const named = (key: keyof typeof fields) => `${partOf(tower, key).name} ${fields[key]}`;
  if (channels % heads !== 0)
    throw damagedConfig(tower.file, `${named('hidden_size')} is no multiple of ${named('num_attention_heads')}`);
  if (patchSize > imageSize) throw damagedConfig(tower.file, `${named('patch_size')} is above ${named('image_size')}`);
  return {
    channels,
    intermediateSize: fields.intermediate_size,
    layers: fields.num_hidden_layers,
    heads,
    imageSize,
    patchSize,
    patches: Math.floor(imageSize / patchSize) ** 2,
    activation,
    layerNormEpsilon: fields.layer_norm_eps,
  };
}
