// The names of a transformer layer's tensors in Hugging Face's CLIP, and in towers that are modelled on it.
import type { TensorFinder } from '../tensorFinder.js';
import type { LayerWeights } from '../transformer/weights.js';

/** The weights of a layer. @throws as {@link requireTensor} */
export function huggingFaceLayer(
  { affine }: TensorFinder,
  { channels, intermediateSize }: { readonly channels: number; readonly intermediateSize: number },
  index: number,
): LayerWeights {
  const name = `encoder.layers.${index}`;
  return {
    norm1: affine(`${name}.layer_norm1`, [channels]),
    query: affine(`${name}.self_attn.q_proj`, [channels, channels]),
    key: affine(`${name}.self_attn.k_proj`, [channels, channels]),
    value: affine(`${name}.self_attn.v_proj`, [channels, channels]),
    out: affine(`${name}.self_attn.out_proj`, [channels, channels]),
    norm2: affine(`${name}.layer_norm2`, [channels]),
    up: affine(`${name}.mlp.fc1`, [intermediateSize, channels]),
    down: affine(`${name}.mlp.fc2`, [channels, intermediateSize]),
  };
}
