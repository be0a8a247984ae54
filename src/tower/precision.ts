/**
 * In what a tower's linear layers are computed. `int8`: weights and inputs are rounded to eight bits, each output's weights
 * and each token by a scale of its own; sums are not.
 */
export type VisionPrecision = (typeof visionPrecisions)[number];

/** The names of {@link VisionPrecision}. */
export const visionPrecisions = ['float32', 'int8'] as const;
