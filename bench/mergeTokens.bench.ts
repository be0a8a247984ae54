// mergeTokens() compared with its two bounds and the plain TypeScript version.
import { mergeSchedule, mergeTokens, mergeTokensSync, type Tensor } from 'longvlm/kernels';
import { Bounds } from './bounds.js';
import { type MergeTokensCase, similarityFlops } from './cases.js';
import { inputRing, inTurn, randomTensor } from './inputs.js';
import { interleave } from './interleave.js';
import { plainMergeTokens } from './plain.js';
import { type Measurement, rates, summarize } from './results.js';

/** Runs in a separate process; the parent process adds PyTorch's measurements. */
export async function benchMergeTokens(
  { type, segments, tokens, channels, heads, keep, ...rest }: MergeTokensCase,
  threads: number,
  quick: boolean,
): Promise<Measurement[]> {
  checkPlain();
  const flops = similarityFlops({ segments, tokens, channels, heads, keep, ...rest });
  const inputs = inputRing(type, [segments, tokens, channels]);
  const bytes = inputs[0]!.data.byteLength;
  const next = inTurn(inputs);
  const bounds = await Bounds.create(inputs, threads, flops);
  const times = await interleave(
    { ours: () => mergeTokens(next(), { heads, keep }), ...bounds.works },
    { rounds: quick ? 4 : 12, samples: 3 },
  );
  const ours = summarize(times.ours.flat());
  const plain = timePlain(inputs[0]!, heads, keep, quick ? 1 : 3).map((milliseconds) => milliseconds * segments);
  const plainSummary = summarize(plain);
  const result = [
    {
      what: 'mergeTokens',
      unit: 'ms',
      ...ours,
      ...rates(ours.median, bytes, flops),
      bound: bounds.compare(times, { reads: 2, flops }),
      faster: [{ baseline: 'plain TypeScript', times: plainSummary.median / ours.median }],
    },
    ...bounds.measurements(times, bytes, flops),
    {
      what: 'plain TypeScript',
      unit: 'ms',
      ...plainSummary,
      ...rates(plainSummary.median, bytes, flops),
      ...(segments > 1 && { note: `one segment was timed, and multiplied by ${segments}` }),
    },
  ] satisfies Measurement[];
  return result;
}

function timePlain({ type, data, dims }: Tensor, heads: number, keep: number, samples: number): number[] {
  const [, tokens, channels] = dims as readonly [number, number, number];
  const segment: Tensor = { type, data: data.subarray(0, tokens * channels), dims: [tokens, channels] };
  const schedule = mergeSchedule(tokens, keep);
  return Array.from({ length: samples }, () => {
    const start = performance.now();
    plainMergeTokens(segment, heads, schedule);
    return performance.now() - start;
  });
}

/** Checks that both merge alike, on a small case where rounding cannot swap two near-equal similarities. Also a warm-up. */
function checkPlain(): void {
  const heads = 4;
  const keep = 7;
  for (const type of ['float32', 'float16'] as const) {
    const tokens = randomTensor(type, [200, 64]);
    const { assignment, sizes } = mergeTokensSync(tokens, { heads, keep });
    const plain = plainMergeTokens(tokens, heads, mergeSchedule(200, keep));
    if (plain.assignment.some((slot, token) => slot !== assignment[token]))
      throw new Error(`The plain TypeScript version assigns ${type} tokens differently`);
    if (plain.sizes.some((size, slot) => size !== sizes.data[slot]))
      throw new Error(`The plain TypeScript version counts ${type} tokens differently`);
  }
}
