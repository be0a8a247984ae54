// The sizes of a SigLIP tower in a Hugging Face configuration.
import { type ConfigPart, isObject, partOf } from '../../files/configFile.js';
import { readVisionShape, type ShapeDefaults, type VisionShape } from '../huggingFace/shape.js';

// What is absent or null has the value of Hugging Face's SiglipVisionConfig.
const siglipShape: ShapeDefaults = {
  ...{ image_size: 224, patch_size: 16, num_hidden_layers: 12, hidden_size: 768, intermediate_size: 3072 },
  ...{ num_attention_heads: 12, layer_norm_eps: 1e-6, hidden_act: 'gelu_pytorch_tanh' },
};
// And that of SmolVLMVisionConfig.
const smolvlmShape: ShapeDefaults = { ...siglipShape, patch_size: 32, hidden_size: 1152, num_attention_heads: 16 };

/** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED`, `ERR_LONGVLM_WEIGHTS` */
export function readSiglipShape(root: ConfigPart, model: 'siglip' | 'smolvlm' = 'siglip'): VisionShape {
  const nested = partOf(root, 'vision_config');
  return readVisionShape(isObject(nested) ? nested : root, model === 'siglip' ? siglipShape : smolvlmShape);
}
