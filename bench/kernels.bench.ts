// Single kernels, each compared with its bounds.
import { bipartiteSoftMatching, poolClsTokens, type Tensor, tokenMetric } from 'longvlm/kernels';
import { Bounds } from './bounds.js';
import { type KernelCase, matchingFlops } from './cases.js';
import { inputRing, inTurn } from './inputs.js';
import { interleave } from './interleave.js';
import { type Measurement, rates, summarize } from './results.js';

type Work = { readonly run: () => unknown; readonly reads: number; readonly flops: number };

export async function benchKernel(entry: KernelCase, threads: number, quick: boolean): Promise<Measurement[]> {
  const inputs = inputRing(entry.type, entry.dims);
  const bytes = inputs[0]!.data.byteLength;
  const { run, reads, flops } = await workOf(entry, inTurn(inputs));
  const bounds = await Bounds.create(inputs, threads, flops);
  const times = await interleave({ ours: run, ...bounds.works }, { rounds: quick ? 4 : 12, samples: 3 });
  const ours = summarize(times.ours.flat());
  return [
    {
      what: entry.kernel,
      unit: 'ms',
      ...ours,
      ...rates(ours.median, bytes, flops),
      bound: bounds.compare(times, { reads, flops }),
    },
    ...bounds.measurements(times, bytes, flops),
  ];
}

async function workOf(
  { kernel, dims, r = 0, heads = 1, out: reuses = false }: KernelCase,
  next: () => Tensor,
): Promise<Work> {
  const [batch, tokens, width] = dims;
  switch (kernel) {
    case 'tokenMetric':
      return { run: () => tokenMetric(next(), { heads }), reads: 1, flops: 0 };
    case 'bipartiteSoftMatching':
      return {
        run: () => bipartiteSoftMatching(next(), r),
        reads: 1,
        flops: batch * matchingFlops(tokens, width),
      };
    case 'Matching.merge': {
      const matching = await bipartiteSoftMatching(next(), r);
      const options = reuses ? { out: await matching.merge(next()) } : {};
      return { run: () => matching.merge(next(), options), reads: 1, flops: 0 };
    }
    case 'poolClsTokens':
      return { run: () => poolClsTokens(next()), reads: 1, flops: 0 };
  }
}
