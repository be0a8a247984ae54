/**
 * Precision of a tower. `float16`: weights, and values between its operators, are rounded to half precision; it is for GPUs, and no
 * faster on a CPU. `int8`: weights and inputs of linear layers are rounded to eight bits, with a separate scale for each output
 * channel and each token; sums are not rounded. It is for CPUs.
 */
export type VisionPrecision = (typeof visionPrecisions)[number];

/** The names of {@link VisionPrecision}. */
export const visionPrecisions = ['float32', 'float16', 'int8'] as const;
