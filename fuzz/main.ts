// npm run fuzz -- [--minutes M] [--cases N] [--seed N] [--only NAME[,NAME]] [--case N] [--jobs N] [--save]
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { repositoryPath } from '../bench/packageFiles.js';
import { Random } from './random.js';
import { type Failure, runBatch } from './runBatch.js';
import { type Target, writeFiles } from './target.js';
import { targets } from './targets/index.js';

const help = `npm run fuzz -- [options]
  --minutes M   how long in all; 10 unless --cases is given
  --cases N     how many of each target
  --seed N      which cases; a new number each time unless given
  --only NAMES  targets, separated by commas: ${targets.map(({ name }) => name).join(', ')}
  --case N      only this one: repeats a failure, and prints all of it
  --jobs N      processes at once; as many as there are processors
  --save        keeps the files of failures in fuzz/corpus, which the tests run`;

class UsageError extends Error {}

function readOptions() {
  const string = { type: 'string' } as const;
  const { values } = parseArgs({
    options: {
      ...{ minutes: string, cases: string, seed: string, only: string, case: string, jobs: string },
      ...({ save: { type: 'boolean' }, help: { type: 'boolean' } } as const),
    },
  });
  const number = (name: 'minutes' | 'cases' | 'case' | 'jobs') => {
    const text = values[name];
    if (text !== undefined && !(Number(text) >= 0)) throw new UsageError(`--${name} takes a number, not '${text}'`);
    return text === undefined ? undefined : Number(text);
  };
  const names = values.only?.split(',') ?? targets.map(({ name }) => name);
  const chosen = names.map((name) => {
    const found = targets.find((target) => target.name === name);
    if (!found)
      throw new UsageError(`there is no target '${name}'. Targets: ${targets.map((each) => each.name).join(', ')}`);
    return found;
  });
  const cases = number('cases');
  return {
    chosen,
    cases: cases ?? Number.POSITIVE_INFINITY,
    minutes: number('minutes') ?? (cases === undefined ? 10 : Number.POSITIVE_INFINITY),
    seed: values.seed ?? String(Date.now() % 1_000_000),
    only: number('case'),
    jobs: Math.max(1, number('jobs') ?? availableParallelism()),
    save: values.save ?? false,
    help: values.help ?? false,
  };
}

type Tally = { readonly target: Target; next: number; refused: number; seconds: number; readonly failures: Failure[] };

/** The target that has had the least of its share. */
function neediest(tallies: readonly Tally[], cases: number): Tally | undefined {
  const open = tallies.filter(({ next }) => next < cases);
  return open.sort((a, b) => a.seconds / a.target.share - b.seconds / b.target.share)[0];
}

async function fuzz(options: ReturnType<typeof readOptions>, scratch: string): Promise<Tally[]> {
  const tallies = options.chosen.map((target) => ({
    target,
    next: 0,
    refused: 0,
    seconds: 0,
    failures: [] as Failure[],
  }));
  const until = performance.now() + options.minutes * 60_000;
  const ending = new AbortController();
  process.once('SIGINT', () => ending.abort());
  const timer = setTimeout(() => ending.abort(), Math.min(options.minutes * 60_000, 2 ** 31 - 1));
  const seen = new Set<string>();
  const work = async () => {
    for (;;) {
      const tally = neediest(tallies, options.cases);
      if (tally === undefined || ending.signal.aborted || performance.now() > until) return;
      const { target } = tally;
      const from = tally.next;
      const to = Math.min(from + target.batch, options.cases);
      tally.next = to;
      // Counted now, too, so that the other workers take other targets.
      tally.seconds += 0.001;
      for (let at = from; at < to && !ending.signal.aborted; ) {
        const start = performance.now();
        const { next, failures, refused } = await runBatch(
          target,
          { seed: options.seed, from: at, to },
          scratch,
          ending.signal,
        );
        tally.seconds += (performance.now() - start) / 1000;
        tally.refused += refused;
        at = next;
        for (const failure of failures) {
          tally.failures.push(failure);
          const name = `${failure.target}: ${failure.signature}`;
          if (seen.has(name)) continue;
          seen.add(name);
          console.log(`FAIL ${name}\n     ${replay(failure, options.seed)}`);
          if (options.save) await save(target, options.seed, failure);
        }
        if (at < to && ending.signal.aborted) tally.next = at;
      }
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, work));
  clearTimeout(timer);
  return tallies;
}

const replay = ({ target, number }: Failure, seed: string) =>
  `npm run fuzz -- --only ${target} --seed ${seed} --case ${number}`;

/** Keeps the files of a case for the tests. */
async function save(target: Target, seed: string, { number }: Failure): Promise<void> {
  if (!target.files) return;
  const folder = repositoryPath(`fuzz/corpus/${target.name}/${seed}-${number}`);
  mkdirSync(folder, { recursive: true });
  const made = mkdtempSync(join(tmpdir(), 'longvlm-fuzz-'));
  try {
    await target.prepare?.(made);
    const changed = Object.entries(target.files(new Random(`${target.name}/${seed}/${number}`)));
    const files = Object.fromEntries(changed.filter(([, content]) => content instanceof Uint8Array));
    await writeFiles(folder, files);
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
}

async function repeat(options: ReturnType<typeof readOptions>, number: number, scratch: string): Promise<boolean> {
  const [target] = options.chosen;
  const kept = join(scratch, 'input');
  if (target!.files) {
    mkdirSync(kept, { recursive: true });
    await target!.prepare?.(scratch);
    await writeFiles(kept, target!.files(new Random(`${target!.name}/${options.seed}/${number}`)));
    const copy = repositoryPath(`build/fuzz/cases/${target!.name}-${options.seed}-${number}`);
    rmSync(copy, { recursive: true, force: true });
    cpSync(kept, copy, { recursive: true });
    console.log(`input: ${copy}`);
  }
  const batch = { seed: options.seed, from: number, to: number + 1 };
  const { failures } = await runBatch(target!, batch, scratch, new AbortController().signal);
  for (const { what, detail } of failures) console.log(`FAIL ${what}\n${detail}`);
  if (failures.length === 0) console.log('ok');
  return failures.length === 0;
}

function summary(tallies: readonly Tally[], seed: string): void {
  console.log(`\nseed ${seed}`);
  let [cases, failed] = [0, 0];
  for (const { target, next, refused, seconds, failures } of tallies) {
    const perSecond = seconds > 0 ? (next / seconds).toFixed(1) : '-';
    console.log(
      `${target.name.padEnd(16)} ${String(next).padStart(8)} cases ${perSecond.padStart(8)} a second ${String(refused).padStart(8)} refused ${String(failures.length).padStart(6)} failures`,
    );
    cases += next;
    failed += failures.length;
    const byCause = group(failures);
    for (const [signature, all] of byCause)
      console.log(`  ${all.length} x ${signature}\n      ${replay(all[0]!, seed)}`);
  }
  console.log(`${cases} cases, ${failed} failures`);
}

function group(failures: readonly Failure[]): Map<string, Failure[]> {
  const byCause = new Map<string, Failure[]>();
  for (const failure of failures) byCause.set(failure.signature, [...(byCause.get(failure.signature) ?? []), failure]);
  return byCause;
}

async function main(): Promise<void> {
  const options = readOptions();
  if (options.help) return console.log(help);
  const scratch = mkdtempSync(join(tmpdir(), 'longvlm-fuzz-'));
  try {
    if (options.only !== undefined) {
      if (!(await repeat(options, options.only, scratch))) process.exitCode = 1;
      return;
    }
    const tallies = await fuzz(options, scratch);
    summary(tallies, options.seed);
    if (tallies.some(({ failures }) => failures.length > 0)) process.exitCode = 1;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  console.error(`fuzz: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 2;
}
// A server of a case that is repeated may still listen.
process.exit();
