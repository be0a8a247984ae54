// What config.json says about a model's vision tower and projector in the layout of InternVL's authors.
import * as v from 'valibot';
import { jsonObject } from '../../base/schema.js';
import { type ConfigPart, isSet, partOf, readPart, unsupportedConfig } from '../../files/configFile.js';
import { readVisionShape } from '../huggingFace/shape.js';
import { type InternvlConfig, ownPixels, readFactor, readPatchLayer } from './hubConfig.js';

// What is absent or null has the value of InternVisionConfig and InternVLChatConfig.
const defaults = {
  image_size: 224,
  patch_size: 14,
  num_hidden_layers: 48,
  hidden_size: 3200,
  intermediate_size: 12800,
  num_attention_heads: 25,
  layer_norm_eps: 1e-6,
  hidden_act: 'gelu',
} as const;
const visionChoices = v.object({
  model_type: v.nullish(v.literal('intern_vit_6b')),
  norm_type: v.nullish(v.picklist(['layer_norm', 'rms_norm']), 'rms_norm'),
});
const visionSwitches = v.object({
  qkv_bias: v.nullish(v.boolean(), false),
  qk_normalization: v.nullish(v.boolean(), true),
});
const choices = v.object({
  // Version 1 has rows and columns of tokens exchanged.
  ps_version: v.literal('v2', "'v2'"),
  pad2square: v.nullish(v.literal(false), false),
});

/**
 * Reads config.json. Pixels are those of the authors' own code, which reads no file for them.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for what is not computed here, `ERR_LONGVLM_WEIGHTS` for damaged values
 */
export function readAuthorsConfig(root: ConfigPart): InternvlConfig {
  const nested = partOf(root, 'vision_config');
  const vision = isSet(nested) ? nested : { ...nested, value: {} };
  readPart(jsonObject, vision);
  const shape = readVisionShape(vision, defaults);
  const { norm_type } = readPart(visionChoices, vision, unsupportedConfig);
  const { qkv_bias, qk_normalization } = readPart(visionSwitches, vision);
  readPart(choices, root, unsupportedConfig);
  const forced = partOf(root, 'force_image_size');
  if (isSet(forced) && forced.value !== shape.imageSize)
    throw unsupportedConfig(
      root.file,
      `${forced.name} ${String(forced.value)} is not ${partOf(vision, 'image_size').name} ${shape.imageSize}, which is the size of the position embeddings`,
    );
  const epsilon = shape.layerNormEpsilon;
  return {
    ...shape,
    normalization: { kind: norm_type === 'rms_norm' ? 'rms' : 'layer', epsilon },
    queryKeyEpsilon: qk_normalization ? epsilon : undefined,
    attentionBias: qkv_bias,
    patchLayer: readPatchLayer(partOf(root, 'select_layer'), shape.layers).patchLayer,
    endNorm: false,
    factor: readFactor(root, shape),
    projectorActivation: 'gelu',
    ...ownPixels(shape.imageSize),
  };
}
