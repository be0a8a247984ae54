// The time of mergeTokens() with this process's number of threads.
import { mergeTokens } from 'longvlm/kernels';
import { type MergeTokensCase, similarityFlops } from './cases.js';
import { inputRing, inTurn } from './inputs.js';
import { interleave } from './interleave.js';
import { type Measurement, rates, summarize } from './results.js';

/** Numbers of threads up to `most`: all up to 4, then in steps of about 50 %, and `most`. */
export function threadCounts(most: number): number[] {
  const counts = [1, 2, 3, 4, 6];
  while (counts.at(-1)! < most) counts.push(counts.at(-2)! * 2);
  return [...new Set([...counts.filter((count) => count < most), most])];
}

/** Milliseconds of each call. */
export async function timeThreads(entry: MergeTokensCase, quick: boolean): Promise<number[]> {
  const { type, segments, tokens, channels, heads, keep } = entry;
  const next = inTurn(inputRing(type, [segments, tokens, channels]));
  const work = () => mergeTokens(next(), { heads, keep });
  const { ours } = await interleave({ ours: work }, { rounds: 1, samples: quick ? 5 : 15 });
  return ours.flat();
}

/** `times` are those of all processes with `threads` threads, `single` those with one thread. */
export function scalingMeasurement(
  entry: MergeTokensCase,
  threads: number,
  times: readonly number[],
  single: readonly number[],
): Measurement {
  const ours = summarize(times);
  const bytes = entry.segments * entry.tokens * entry.channels * (entry.type === 'float32' ? 4 : 2);
  return {
    what: `mergeTokens, ${threads} thread${threads > 1 ? 's' : ''}`,
    unit: 'ms',
    ...ours,
    ...rates(ours.median, bytes, similarityFlops(entry)),
    faster: [{ baseline: '1 thread', times: summarize(single).median / ours.median }],
  };
}
