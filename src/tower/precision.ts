/**
 * Precision of a tower's linear layers. `int8`: weights and inputs are rounded to eight bits, with a separate scale for each
 * output channel and each token; sums are not rounded.
 */
export type VisionPrecision = (typeof visionPrecisions)[number];

/** The names of {@link VisionPrecision}. */
export const visionPrecisions = ['float32', 'int8'] as const;
