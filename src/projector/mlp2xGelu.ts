import { layeredFamily } from './layers.js';

/** Two linear layers, `0` and `2`, with GELU between them (`1`, which has no tensors); for VipLLaVA behind a normalisation. */
export const mlp2xGelu = layeredFamily('mlp2x_gelu', {
  mm_projector: { layers: ['0.', '2.'] },
  mm: { layers: ['0.', '2.'] },
  multi_modal_projector: { layers: ['linear_1.', 'linear_2.'], norm: 'projector_layernorm.' },
});
