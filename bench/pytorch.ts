// The PyTorch baseline, if it is installed: merge_tokens.py in a separate process.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { MergeTokensCase } from './cases.js';
import { repositoryPath } from './packageFiles.js';
import { type Measurement, rates, summarize } from './results.js';

const execute = promisify(execFile);

export type Pytorch = { readonly python: string; readonly version: string; readonly instructionSet: string };

/** Milliseconds of each call, by calling mode. */
export type PytorchTimes = ReadonlyMap<string, readonly number[]>;

/** Error for a given Python that cannot be used. */
export class PythonError extends Error {}

class NoPytorchError extends Error {}

/** merge_tokens.py's exit code if torch cannot be imported. */
const noPytorch = 3;

/**
 * Finds the Python at `path`, else `python3`, and checks its PyTorch's results against the golden data.
 *
 * @returns undefined when `path` is undefined and `python3` has no PyTorch
 * @throws PythonError when `path` has no PyTorch, or when its results are wrong
 */
export async function findPytorch(path: string | undefined): Promise<Pytorch | undefined> {
  const python = path ?? 'python3';
  try {
    const [line] = await runScript(python, [], 1);
    return { python, ...(line as Omit<Pytorch, 'python'>) };
  } catch (error) {
    if (!(error instanceof NoPytorchError)) throw error;
    if (path === undefined) return undefined;
    throw new PythonError(
      `Expected a Python that can import torch for --python or LONGVLM_PYTHON but received '${path}'`,
    );
  }
}

/**
 * How PyTorch is used. `as written`: rows are moved by gather and scatter_add over the batch, as the method's authors do,
 * with glibc's default settings. `tuned`: by index_select and index_add_, and glibc is set to keep freed memory.
 */
const variants = {
  'as written': { rows: 'gather', env: {} },
  tuned: {
    rows: 'index',
    // By default glibc returns large blocks to the system at once, and the page faults of allocating them again take more
    // time than the work.
    env: { MALLOC_MMAP_THRESHOLD_: '68719476736', MALLOC_TRIM_THRESHOLD_: '68719476736' },
  },
} as const;

/** The calling mode of the method's authors. */
export const asPublished = 'as written, all segments at once';

/** Times a case for `seconds` in each variant and calling mode. */
export async function timePytorch(
  { python }: Pytorch,
  { segments, tokens, channels, type, heads, keep }: MergeTokensCase,
  threads: number,
  seconds: number,
): Promise<PytorchTimes> {
  const shape = ['--shape', segments, tokens, channels, '--type', type, '--heads', heads, '--keep', keep];
  const times = new Map<string, readonly number[]>();
  for (const [variant, { rows, env }] of Object.entries(variants)) {
    const lines = await runScript(python, [...shape, '--rows', rows, '--seconds', seconds], threads, env);
    for (const { way, milliseconds } of lines as { way: string; milliseconds: number[] }[])
      times.set(`${variant}, ${way}`, milliseconds);
  }
  return times;
}

/**
 * A measurement for each calling mode, the fastest first. Each is the faster of the runs before and after ours, because
 * PyTorch's threads slow each other down many times when another process takes a core for a while.
 */
export function pytorchMeasurements(
  { version }: Pytorch,
  runs: readonly PytorchTimes[],
  bytes: number,
  flops: number,
): Measurement[] {
  const measurements = [...runs[0]!.keys()].map((way) => {
    const summaries = runs.map((run) => summarize(run.get(way)!));
    const fastest = summaries.reduce((best, summary) => (summary.median < best.median ? summary : best));
    const medians = summaries.map(({ median }) => `${median.toFixed(1)} ms`);
    return {
      what: `PyTorch ${version}, ${way}`,
      unit: 'ms' as const,
      ...fastest,
      ...rates(fastest.median, bytes, flops),
      note: `before ours ${medians.join(', after ')}`,
    };
  });
  return measurements.sort((a, b) => a.median - b.median);
}

async function runScript(
  python: string,
  args: readonly (string | number)[],
  threads: number,
  variables: NodeJS.ProcessEnv = {},
): Promise<unknown[]> {
  const script = [repositoryPath('bench/merge_tokens.py'), '--golden', repositoryPath('test/fixtures/merge')];
  const env = { ...process.env, ...variables, OMP_NUM_THREADS: String(threads) };
  try {
    const { stdout } = await execute(python, [...script, '--threads', String(threads), ...args.map(String)], { env });
    return stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  } catch (error) {
    const { code, stderr, signal } = error as { code?: unknown; stderr?: string; signal?: string };
    if (code === noPytorch || code === 'ENOENT' || code === 'EACCES') throw new NoPytorchError();
    const ending = signal ? `ended by ${signal}: out of memory?` : `exit code ${code}`;
    const reason = stderr?.trim().split('\n').at(-1) || ending;
    throw new PythonError(`PyTorch's measurement with '${python}' failed: ${reason}`);
  }
}
