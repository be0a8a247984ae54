import { layeredFamily } from './layers.js';

/** One linear layer. */
export const linear = layeredFamily('linear', { mm_projector: { layers: [''] }, mm: { layers: ['0.'] } });
