// What an mmproj file says about InternVL's vision tower and projector.
import { integer } from '../../base/schema.js';
import type { GgufFile } from '../../files/gguf.js';
import { MmprojFields } from '../../files/mmprojFields.js';
import { perChannel } from '../fields.js';
import { countMmprojLayers, readMmprojActivation, readMmprojShape } from '../mmproj.js';
import { type InternvlConfig, ownPixels } from './hubConfig.js';

// With other values than these the tower would be computed in another way.
const fixed = {
  'clip.vision.spatial_merge_size': 1,
  'clip.vision.n_wa_pattern': 0,
  'clip.vision.window_size': 0,
  'clip.vision.expert_used_count': 0,
} as const;
const kind = 'InternVL';

/**
 * Reads the configuration of the tower and the projector in an mmproj file.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for what is not computed here; `ERR_LONGVLM_WEIGHTS` for values that are
 * missing or contradict each other
 */
export function readMmprojConfig(file: GgufFile): InternvlConfig {
  const fields = new MmprojFields(file);
  const shape = readMmprojShape(fields, kind, fixed);
  const layers = countMmprojLayers(file);
  const named = fields.read('clip.vision.block_count', integer(1));
  if (layers !== named)
    throw fields.error(`clip.vision.block_count ${named} is not the number of its layers, ${layers}`);
  const factor = fields.read('clip.vision.projector.scale_factor', integer(1));
  const side = Math.floor(shape.imageSize / shape.patchSize);
  if (side % factor !== 0)
    throw fields.error(
      `${side} rows and columns of patches cannot be joined by clip.vision.projector.scale_factor ${factor}`,
    );
  const has = (name: string) => file.tensors.has(`v.blk.0.${name}`);
  const epsilon = shape.layerNormEpsilon;
  return {
    ...shape,
    layers,
    patchLayer: layers,
    // No key says it: the tower of 6 billion parameters has norms without biases, and normalises queries and keys.
    normalization: { kind: has('ln1.bias') ? 'layer' : 'rms', epsilon },
    queryKeyEpsilon: has('attn_q_norm.weight') ? epsilon : undefined,
    attentionBias: has('attn_q.bias'),
    endNorm: false,
    factor,
    activation: readMmprojActivation(fields),
    projectorActivation: 'gelu',
    ...ownPixels(shape.imageSize),
    mean: fields.read('clip.vision.image_mean', perChannel),
    std: fields.read('clip.vision.image_std', perChannel),
  };
}
