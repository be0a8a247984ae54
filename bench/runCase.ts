// Measures one case in a separate process: `node runCase.js JOB`. Prints a CaseOutcome as JSON.
import { benchBlocking, benchCalls } from './calls.bench.js';
import type { KernelCase, MergeTokensCase } from './cases.js';
import { benchKernel } from './kernels.bench.js';
import { benchPeakMemory, benchSteadyMemory } from './memory.bench.js';
import { benchMergeTokens } from './mergeTokens.bench.js';
import { binding } from './packageFiles.js';
import type { Measurement } from './results.js';
import { timeThreads } from './scaling.bench.js';

export type CaseJob = { readonly threads: number; readonly quick: boolean } & (
  | { readonly bench: 'mergeTokens' | 'blocking' | 'peakMemory' | 'steadyMemory'; readonly entry: MergeTokensCase }
  | { readonly bench: 'threads'; readonly entry: MergeTokensCase }
  | { readonly bench: 'kernel'; readonly entry: KernelCase }
  | { readonly bench: 'calls' }
);

export type CaseOutcome = {
  readonly instructionSet: string;
  readonly measurements: readonly Measurement[];
  /** Milliseconds, only for the bench `threads`, whose processes are summarised together. */
  readonly times: readonly number[];
};

async function run(job: CaseJob): Promise<Pick<CaseOutcome, 'measurements'> & Partial<CaseOutcome>> {
  const { threads, quick } = job;
  switch (job.bench) {
    case 'mergeTokens':
      return { measurements: await benchMergeTokens(job.entry, threads, quick) };
    case 'kernel':
      return { measurements: await benchKernel(job.entry, threads, quick) };
    case 'calls':
      return { measurements: await benchCalls(quick) };
    case 'blocking':
      return { measurements: await benchBlocking(job.entry, quick) };
    case 'threads':
      return { measurements: [], times: await timeThreads(job.entry, quick) };
    case 'peakMemory':
      return { measurements: await benchPeakMemory(job.entry) };
    case 'steadyMemory':
      return { measurements: await benchSteadyMemory(job.entry) };
  }
}

try {
  const outcome = await run(JSON.parse(process.argv[2]!) as CaseJob);
  console.log(
    JSON.stringify({ times: [], ...outcome, instructionSet: binding().instructionSet() } satisfies CaseOutcome),
  );
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
