// Runs a batch of cases in a process of its own and watches it: for its end, its silence, and its memory.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Batch, Report } from './protocol.js';
import type { Target } from './target.js';

export type Failure = {
  readonly target: string;
  readonly number: number;
  readonly what: string;
  readonly signature: string;
  readonly detail: string;
};

export type BatchResult = {
  /** The number behind the last case that was done. */
  readonly next: number;
  readonly failures: readonly Failure[];
  /** Cases that ended with an error that is right. */
  readonly refused: number;
};

const heapMegabytes = 1024;
const watchMs = 200;

/** Resident memory of a process, where the system tells it as Linux does; else 0. */
function residentMegabytes(id: number | undefined): number {
  try {
    return (Number(readFileSync(`/proc/${id}/statm`, 'latin1').split(' ')[1]) * 4096) / 2 ** 20;
  } catch {
    return 0;
  }
}

/** Processes in the group of one that has ended, where the system tells them as Linux does. */
function leftOf(group: number): number[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .map(Number)
    .filter((id) => {
      try {
        const fields = readFileSync(`/proc/${id}/stat`, 'latin1')
          .replace(/^.*\) /s, '')
          .split(' ');
        return fields[0] !== 'Z' && Number(fields[2]) === group;
      } catch {
        return false;
      }
    });
}

function killGroup(group: number): void {
  try {
    process.kill(-group, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

/** Runs the cases from `from` to below `to`; a case that ends or stops the process is the last one. */
export async function runBatch(
  target: Target,
  batch: Omit<Batch, 'target' | 'folder'>,
  scratch: string,
  signal: AbortSignal,
): Promise<BatchResult> {
  mkdirSync(scratch, { recursive: true });
  const folder = mkdtempSync(join(scratch, `${target.name}-`));
  const failures: Failure[] = [];
  let current = batch.from - 1;
  let refused = 0;
  let ended = false;
  let heard = performance.now();
  const fail = (what: string, detail: string, signature = what) =>
    failures.push({ target: target.name, number: Math.max(current, batch.from), what, signature, detail });

  const argument: Batch = { ...batch, target: target.name, folder };
  const child = spawn(
    process.execPath,
    [
      `--max-old-space-size=${heapMegabytes}`,
      '--expose-gc',
      fileURLToPath(new URL('child.js', import.meta.url)),
      JSON.stringify(argument),
    ],
    {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      // Where files of any relative name may come to be.
      cwd: folder,
      // A group of its own, so that what it leaves can be found and ended.
      detached: true,
      env: {
        ...process.env,
        TMPDIR: join(folder, 'tmp'),
        LONGVLM_CACHE: join(folder, 'cache'),
        HF_HOME: join(folder, 'hub'),
        LONGVLM_NUM_THREADS: '2',
      },
    },
  );
  const group = child.pid!;
  let log = '';
  child.stderr!.on('data', (text: Buffer) => {
    log = (log + text).slice(-4000);
  });
  createInterface({ input: child.stdio[3] as Readable }).on('line', (line) => {
    heard = performance.now();
    const report = JSON.parse(line) as Report;
    if (report.kind === 'begin') current = report.number;
    else if (report.kind === 'refused') {
      refused = report.count;
      ended = true;
    } else fail(report.what, report.detail, report.signature);
  });
  let stopped: string | undefined;
  const watch = setInterval(() => {
    if (stopped !== undefined) return;
    const memory = residentMegabytes(child.pid);
    if (performance.now() - heard > 1000 * (target.seconds + (current < batch.from ? 30 : 0))) stopped = 'a hang';
    else if (memory > target.megabytes) stopped = `more than ${target.megabytes} MB of memory`;
    else if (signal.aborted) stopped = 'aborted';
    if (stopped !== undefined) killGroup(group);
  }, watchMs);
  const [code, by] = await new Promise<[number | null, string | null]>((resolve) => {
    child.on('close', (exitCode, exitSignal) => resolve([exitCode, exitSignal]));
    child.on('error', (error) => {
      log += String(error);
      resolve([-1, null]);
    });
  });
  clearInterval(watch);
  if (stopped !== undefined && stopped !== 'aborted') fail(stopped, log);
  else if (stopped === undefined && !ended)
    fail(`the process ended (${by ?? code})`, log, `the process ended (${by ?? code}) ${crashLine(log)}`);
  const left = stopped === undefined ? leftOf(group) : [];
  if (left.length > 0) fail('a process of ours is left', left.join(', '));
  killGroup(group);
  rmSync(folder, { recursive: true, force: true });
  return { next: stopped === 'aborted' ? Math.max(current, batch.from) : current + 1, failures, refused };
}

/** The line of a log that says why a process ended. */
function crashLine(log: string): string {
  const line = log.split('\n').find((text) => /fatal|assert|abort|terminate|Error:|heap/i.test(text)) ?? '';
  return line.replace(/0x[0-9a-f]+|\d+/gi, 'N').slice(0, 160);
}
