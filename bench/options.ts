import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';

export const help = `Usage: npm run bench -- [options]

Times the token-merging kernels, each case in a process of its own, and prints tables.

  --filter TEXT   only cases whose group or name contains TEXT, such as scaling or float16
  --quick         fewer cases and samples, within a minute where nothing else runs; for seeing that all works, not for figures to quote
  --json          print one JSON document in place of tables (npm run --silent bench -- --json)
  --save FILE     write the same document to FILE, which is replaced at the end of the run
  --html          measure nothing: write results as one page with charts, to the file of --save or build/benchmarks.html; the
                  results are those in bench/results, or in the files and folders named behind it
  --python PATH   a Python that can import torch, for the baseline in PyTorch
  --help          print this

Environment: LONGVLM_NUM_THREADS (threads), LONGVLM_MAX_ISA (instruction set), LONGVLM_PYTHON (as --python).
docs/benchmarks.md says what is measured.`;

export type BenchOptions = {
  readonly help: boolean;
  readonly filter: string;
  readonly quick: boolean;
  readonly json: boolean;
  readonly save: string | undefined;
  /** Files and folders of results; undefined without `--html`. */
  readonly html: readonly string[] | undefined;
  readonly python: string | undefined;
  readonly threads: number;
};

/** Error for a wrong command line or environment; the message is one line. */
export class UsageError extends Error {}

export function parseOptions(args: readonly string[], env: NodeJS.ProcessEnv): BenchOptions {
  const { values, positionals } = parse(args);
  for (const name of ['save', 'python', 'filter'] as const)
    if (values[name] === '') throw new UsageError(`Expected text for --${name} but received ''`);
  return {
    help: values.help ?? false,
    filter: values.filter ?? '',
    quick: values.quick ?? false,
    json: values.json ?? false,
    save: values.save,
    html: htmlOf(values, positionals),
    python: values.python ?? (env.LONGVLM_PYTHON || undefined),
    threads: threadsOf(env.LONGVLM_NUM_THREADS),
  };
}

function parse(args: readonly string[]) {
  const options = {
    help: { type: 'boolean', short: 'h' },
    filter: { type: 'string' },
    quick: { type: 'boolean' },
    json: { type: 'boolean' },
    html: { type: 'boolean' },
    save: { type: 'string' },
    python: { type: 'string' },
  } as const;
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    const [line] = (error as Error).message.split('\n');
    throw new UsageError(`${line!.replace(/\.?$/, '.')} See --help.`);
  }
}

type Values = ReturnType<typeof parse>['values'];

function htmlOf({ html, json, quick, filter }: Values, results: readonly string[]): BenchOptions['html'] {
  if (!html && results.length > 0) throw new UsageError(`Unexpected argument '${results[0]}'. See --help.`);
  if (!html) return undefined;
  if (json || quick || filter !== undefined)
    throw new UsageError(
      'Expected neither --json, --quick nor --filter with --html, which measures nothing. See --help.',
    );
  return results;
}

function threadsOf(text: string | undefined): number {
  if (!text) return availableParallelism();
  if (!/^\d+$/.test(text) || Number(text) < 1 || Number(text) > 1024)
    throw new UsageError(`Expected integer between 1 and 1024 for LONGVLM_NUM_THREADS but received '${text}'`);
  return Number(text);
}
