import type { StepShape } from '../qwen3vl/shape.js';

/** The sizes of a Qwen2.5-VL tower, and how it computes. */
export type Qwen25Shape = StepShape & {
  /** Width and height of a window in the squares that become one token each. */
  readonly window: number;
  /** Layers whose tokens attend to the whole frame, and not to their window alone; ascending from 0. */
  readonly fullLayers: readonly number[];
};
