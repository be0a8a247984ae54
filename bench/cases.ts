// The cases that are timed; test/kernels checks the results of the same cases.
import type { TensorType } from 'longvlm';

export type MergeTokensCase = {
  readonly name: string;
  readonly type: TensorType;
  readonly segments: number;
  readonly tokens: number;
  readonly channels: number;
  readonly heads: number;
  readonly keep: number;
  /** Small enough for a check of all segments by plain loops. */
  readonly plain: boolean;
  /** Included in `--quick`. */
  readonly quick: boolean;
};

const vitL = { channels: 1024, heads: 16, keep: 30, plain: false, quick: false } as const;
const tenFrames = { name: '10 frames at 224 px', segments: 1, tokens: 2560, ...vitL };
const video = { name: '100 frames at 224 px', segments: 10, tokens: 2560, ...vitL };
const largeFrames = { name: '100 frames at 336 px', segments: 10, tokens: 5760, ...vitL };
const longVideo = { name: '1000 frames at 224 px', segments: 100, tokens: 2560, ...vitL };

/** Of cases with several segments, and of those for the plain version, test/kernels checks one segment. */
export const mergeTokensCases: readonly MergeTokensCase[] = [
  { ...video, type: 'float32', quick: true },
  { ...video, type: 'float16' },
  { ...tenFrames, type: 'float32' },
  { ...tenFrames, type: 'float16', quick: true },
  { ...largeFrames, type: 'float32' },
  { name: '2 frames at 224 px', type: 'float32', segments: 1, tokens: 512, ...vitL, plain: true },
];

/** Timed but not checked: they have the same segments as the cases above, and checking one takes seconds. */
export const moreMergeTokensCases: readonly MergeTokensCase[] = [
  { ...largeFrames, type: 'float16' },
  { ...longVideo, type: 'float32' },
  { ...longVideo, type: 'float16' },
];

/** A call of one kernel on a tensor of three axes, with `r` and `heads` if the kernel takes them. */
export type KernelCase = {
  readonly kernel: 'tokenMetric' | 'bipartiteSoftMatching' | 'Matching.merge' | 'poolClsTokens';
  readonly type: TensorType;
  readonly dims: readonly [number, number, number];
  readonly r?: number;
  readonly heads?: number;
  /** Whether results go to memory that is reused. */
  readonly out?: boolean;
  readonly quick: boolean;
};

export const kernelCases: readonly KernelCase[] = [
  { kernel: 'tokenMetric', type: 'float32', dims: [10, 2560, 1024], heads: 16, quick: false },
  { kernel: 'tokenMetric', type: 'float16', dims: [10, 2560, 1024], heads: 16, quick: true },
  { kernel: 'bipartiteSoftMatching', type: 'float32', dims: [10, 2560, 64], r: 1280, quick: true },
  { kernel: 'Matching.merge', type: 'float32', dims: [10, 2560, 1024], r: 1280, quick: false },
  { kernel: 'Matching.merge', type: 'float16', dims: [10, 2560, 1024], r: 1280, quick: false },
  { kernel: 'Matching.merge', type: 'float32', dims: [10, 2560, 1024], r: 1280, out: true, quick: false },
  { kernel: 'Matching.merge', type: 'float16', dims: [10, 2560, 1024], r: 1280, out: true, quick: false },
  { kernel: 'poolClsTokens', type: 'float32', dims: [100, 5, 1024], quick: true },
  { kernel: 'poolClsTokens', type: 'float32', dims: [100, 257, 1024], quick: false },
];

/** The input for the overhead of a call. */
export const tinyCase = { dims: [1, 4, 16], heads: 1, keep: 2 } as const;

/** Numbers of segments in `[segments, 2560, 1024]` for the benches of threads, blocking and memory; `--quick` uses the first. */
export const segmentsMeasured = {
  scaling: [1, 10],
  blocking: [10],
  peakMemory: [10, 1],
  steadyMemory: [1],
} as const;

/** One of {@link mergeTokensCases}. */
export function mergeTokensCase(type: TensorType, segments: number): MergeTokensCase {
  return mergeTokensCases.find((entry) => entry.type === type && entry.segments === segments && entry.tokens === 2560)!;
}

/** Flops of the similarity products over all levels: two for each multiply-add. */
export function similarityFlops({ segments, tokens, channels, heads, keep }: Omit<MergeTokensCase, 'type'>): number {
  let flops = 0;
  for (let left = tokens; left > keep; left = Math.max(left - Math.floor(left / 2), keep))
    flops += matchingFlops(left, channels / heads);
  return segments * flops;
}

/** The same for a single level. */
export function matchingFlops(tokens: number, dims: number): number {
  return 2 * Math.ceil(tokens / 2) * Math.floor(tokens / 2) * dims;
}
