// What is timed; test/kernels checks the same cases.
import type { TensorType } from 'longvlm';

export type MergeTokensCase = {
  readonly name: string;
  readonly type: TensorType;
  readonly segments: number;
  readonly tokens: number;
  readonly channels: number;
  readonly heads: number;
  readonly keep: number;
  /** Small enough for the plain implementation. */
  readonly plain: boolean;
};

const vitL = { channels: 1024, heads: 16, keep: 30 } as const;

export const mergeTokensCases: readonly MergeTokensCase[] = [
  { name: '100 frames at 224 px', type: 'float32', segments: 10, tokens: 2560, ...vitL, plain: false },
  { name: '100 frames at 224 px', type: 'float16', segments: 10, tokens: 2560, ...vitL, plain: false },
  { name: '10 frames at 224 px', type: 'float32', segments: 1, tokens: 2560, ...vitL, plain: false },
  { name: '2 frames at 224 px', type: 'float32', segments: 1, tokens: 512, ...vitL, plain: true },
];

/** Multiply-adds of the similarity products, twice, over all levels. */
export function similarityFlops({ segments, tokens, channels, heads, keep }: MergeTokensCase): number {
  let flops = 0;
  for (let left = tokens; left > keep; left = Math.max(left - Math.floor(left / 2), keep))
    flops += 2 * Math.ceil(left / 2) * Math.floor(left / 2) * (channels / heads);
  return segments * flops;
}
