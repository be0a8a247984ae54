// npm run bench: selects the cases, runs each in a fresh process, and prints and saves the measurements.
import { execFile, execFileSync } from 'node:child_process';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  type KernelCase,
  kernelCases,
  type MergeTokensCase,
  mergeTokensCase,
  mergeTokensCases,
  moreMergeTokensCases,
  segmentsMeasured,
  similarityFlops,
  tinyCase,
} from './cases.js';
import { pageOf } from './html/write.js';
import { type BenchOptions, help, parseOptions, UsageError } from './options.js';
import { watchOtherLoad } from './otherLoad.js';
import { repositoryPath } from './packageFiles.js';
import { asPublished, findPytorch, PythonError, type Pytorch, pytorchMeasurements, timePytorch } from './pytorch.js';
import { type Baseline, type Measurement, notMeasured, type Result } from './results.js';
import type { CaseJob, CaseOutcome } from './runCase.js';
import { scalingMeasurement, threadCounts } from './scaling.bench.js';
import { table } from './table.js';

const execute = promisify(execFile);
const runCase = fileURLToPath(new URL('runCase.js', import.meta.url));
const remedy = 'no PyTorch: python3 cannot import torch; install it, or name a Python that can by --python PATH';

type Measured = Measurement & Partial<Pick<Result, 'instructionSet' | 'threads'>>;

type Outcome = { readonly instructionSet: string; readonly measurements: readonly Measured[] };

type Case = {
  readonly group: string;
  readonly name: string;
  readonly quick: boolean;
  readonly run: (context: Context) => Promise<Outcome>;
};

type Context = BenchOptions & { readonly pytorch: Pytorch | undefined };

/** A CaseJob without the fields that all jobs share. */
type JobOf<Job> = Job extends unknown ? Omit<Job, 'threads' | 'quick'> : never;

async function inFreshProcess(job: JobOf<CaseJob>, threads: number, quick: boolean): Promise<CaseOutcome> {
  const env = { ...process.env, LONGVLM_NUM_THREADS: String(threads) };
  const args = ['--expose-gc', runCase, JSON.stringify({ ...job, threads, quick })];
  try {
    const { stdout } = await execute(process.execPath, args, { env, maxBuffer: 2 ** 26 });
    return JSON.parse(stdout) as CaseOutcome;
  } catch (error) {
    const { stderr, signal } = error as { stderr?: string; signal?: string };
    throw new Error(stderr?.trim() || (signal ? `the process was ended by ${signal}` : String(error)));
  }
}

async function besidePytorch(entry: MergeTokensCase, { threads, quick, pytorch }: Context): Promise<Outcome> {
  const ours = () => inFreshProcess({ bench: 'mergeTokens', entry }, threads, quick);
  const withFaster = ({ measurements, instructionSet }: CaseOutcome, baselines: readonly Baseline[]) => {
    const [first, ...others] = measurements as [Measurement, ...Measurement[]];
    const faster = [...baselines, ...(first.faster ?? [])];
    return { instructionSet, measurements: [{ ...first, faster }, ...others] };
  };
  if (pytorch === undefined) {
    const outcome = withFaster(await ours(), [{ baseline: 'PyTorch', times: null }]);
    return { ...outcome, measurements: [...outcome.measurements, notMeasured('PyTorch', 'ms', remedy)] };
  }
  const seconds = quick ? 0.4 : 1.5;
  const runs = [await timePytorch(pytorch, entry, threads, seconds)];
  const outcome = await ours();
  if (!quick) runs.push(await timePytorch(pytorch, entry, threads, seconds));
  const { segments, tokens, channels, type } = entry;
  const bytes = segments * tokens * channels * (type === 'float32' ? 4 : 2);
  const baselines = pytorchMeasurements(pytorch, runs, bytes, similarityFlops(entry));
  const { instructionSet } = pytorch;
  const ourMedian = outcome.measurements[0]!.median;
  // The way in which the method's authors call it, and the fastest way.
  const compared = [baselines.find(({ what }) => what.endsWith(asPublished))!, baselines[0]!];
  const result = withFaster(
    outcome,
    [...new Set(compared)].map(({ what, median }) => ({ baseline: what, times: median / ourMedian })),
  );
  return {
    ...result,
    measurements: [...result.measurements, ...baselines.map((line) => ({ ...line, instructionSet }))],
  };
}

/** Ascending, then descending, so that a gradual slowdown of the machine affects all counts alike. */
async function overThreads(entry: MergeTokensCase, { threads: most, quick }: Context): Promise<Outcome> {
  const counts = threadCounts(most);
  const times = new Map<number, number[]>(counts.map((count) => [count, []]));
  let instructionSet = '';
  for (const count of [...counts, ...counts.toReversed()]) {
    const outcome = await inFreshProcess({ bench: 'threads', entry }, count, quick);
    times.get(count)!.push(...outcome.times);
    instructionSet = outcome.instructionSet;
  }
  const single = times.get(counts[0]!)!;
  const measurements = counts.map((threads) => ({
    ...scalingMeasurement(entry, threads, times.get(threads)!, single),
    threads,
  }));
  return { instructionSet, measurements };
}

const nameOf = ({ type, segments, tokens, channels }: MergeTokensCase): string =>
  `[${segments}, ${tokens}, ${channels}] ${type}`;

const kernelName = ({ kernel, dims, type, r, heads, out }: KernelCase): string =>
  `${kernel} [${dims.join(', ')}] ${type}${r ? `, r ${r}` : ''}${heads ? `, ${heads} heads` : ''}${out ? ', out' : ''}`;

const allCases: readonly Case[] = [
  ...[...mergeTokensCases, ...moreMergeTokensCases].map((entry) => ({
    group: 'mergeTokens',
    name: `${nameOf(entry)}, ${entry.name}`,
    quick: entry.quick,
    run: (context: Context) => besidePytorch(entry, context),
  })),
  ...kernelCases.map((entry) => ({
    group: 'kernels',
    name: kernelName(entry),
    quick: entry.quick,
    run: ({ threads, quick }: Context) => inFreshProcess({ bench: 'kernel', entry }, threads, quick),
  })),
  {
    group: 'calls',
    name: `mergeTokens [${tinyCase.dims.join(', ')}] float32`,
    quick: true,
    run: ({ threads, quick }) => inFreshProcess({ bench: 'calls' }, threads, quick),
  },
  ...measuredOn('blocking', segmentsMeasured.blocking, (entry, { threads, quick }) =>
    inFreshProcess({ bench: 'blocking', entry }, threads, quick),
  ),
  ...measuredOn('scaling', segmentsMeasured.scaling, overThreads),
  ...measuredOn('memory, first call', segmentsMeasured.peakMemory, (entry, { threads, quick }) =>
    inFreshProcess({ bench: 'peakMemory', entry }, threads, quick),
  ),
  ...measuredOn('memory, steady', segmentsMeasured.steadyMemory, (entry, { threads, quick }) =>
    inFreshProcess({ bench: 'steadyMemory', entry }, threads, quick),
  ),
];

function measuredOn(
  group: string,
  segments: readonly number[],
  run: (entry: MergeTokensCase, context: Context) => Promise<Outcome>,
): Case[] {
  return segments.map((count, index) => {
    const entry = mergeTokensCase('float32', count);
    return { group, name: `mergeTokens ${nameOf(entry)}`, quick: index === 0, run: (context) => run(entry, context) };
  });
}

function commit(): string {
  try {
    const options = { cwd: repositoryPath('.'), encoding: 'utf8' } as const;
    return execFileSync('git', ['describe', '--always', '--dirty'], { ...options, stdio: 'pipe' }).trim();
  } catch {
    return 'unknown';
  }
}

/** Writes a file atomically, so that an interrupted run leaves no incomplete file. */
function prepareSave(file: string): { save(content: string): void } {
  const part = `${file}.part`;
  writeFileSync(part, '');
  process.once('exit', () => rmSync(part, { force: true }));
  return {
    save: (content) => {
      writeFileSync(part, content);
      renameSync(part, file);
    },
  };
}

function writePage(results: readonly string[], file: string): void {
  const content = pageOf(results.length > 0 ? results : [repositoryPath('bench/results')]);
  prepareSave(file).save(content);
  console.log(file);
}

async function main(options: BenchOptions): Promise<void> {
  const wanted = allCases.filter(
    ({ group, name, quick }) => `${group}: ${name}`.includes(options.filter) && (quick || !options.quick),
  );
  if (wanted.length === 0) {
    const groups = [...new Set(allCases.map(({ group }) => group))].join('; ');
    throw new UsageError(
      `Expected part of a case's name for --filter but received '${options.filter}'. Groups: ${groups}`,
    );
  }
  const output = options.save === undefined ? undefined : prepareSave(options.save);
  const cpu = cpus()[0]?.model.trim() ?? 'unknown';
  const machine = { cpu, node: process.version, commit: commit() };
  const print = options.json ? console.error : console.log;
  print(`${machine.cpu}, ${options.threads} threads, Node ${machine.node}, commit ${machine.commit}`);
  const needsPytorch = wanted.some(({ group }) => group === 'mergeTokens');
  const pytorch = needsPytorch ? await findPytorch(options.python) : undefined;
  const context: Context = { ...options, pytorch };

  const date = new Date().toISOString();
  const results: Result[] = [];
  for (const { group, name, run } of wanted) {
    try {
      const otherLoad = watchOtherLoad();
      const { instructionSet, measurements } = await run(context);
      const load = otherLoad();
      const all = {
        group,
        case: name,
        ...machine,
        instructionSet,
        threads: options.threads,
        ...(load !== undefined && { otherLoad: load }),
      };
      const added = measurements.map((measurement) => ({ ...all, ...measurement }));
      results.push(...added);
      print(`\n${table(added)}`);
    } catch (error) {
      console.error(`${group}: ${name} failed: ${(error as Error).message}`);
      process.exitCode = 1;
    }
  }
  const document = `${JSON.stringify({ date, quick: options.quick, results }, null, 2)}\n`;
  output?.save(document);
  if (options.json) process.stdout.write(document);
}

try {
  const options = parseOptions(process.argv.slice(2), process.env);
  if (options.help) console.log(help);
  else if (options.html) writePage(options.html, options.save ?? repositoryPath('build/benchmarks.html'));
  else await main(options);
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}`);
  process.exitCode = error instanceof UsageError || error instanceof PythonError ? 2 : 1;
}
