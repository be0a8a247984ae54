import { layeredFamily } from './layers.js';

/** Two linear layers, `0` and `2`, with GELU between them (`1`, which has no tensors). */
export const mlp2xGelu = layeredFamily('mlp2x_gelu', {
  mm_projector: ['0.', '2.'],
  mm: ['0.', '2.'],
  multi_modal_projector: ['linear_1.', 'linear_2.'],
});
