// Runs cases one after another, and tells of each before it begins.
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { complaintAbout, signatureOf } from './judge.js';
import type { Batch, Report } from './protocol.js';
import { Random } from './random.js';
import { type Target, writeFiles } from './target.js';
import { targets } from './targets/index.js';

const reportsTo = 3;
const longestSilence = 1000;

// Written at once, so that a report survives a crash in the next moment.
function tell(report: Report): void {
  const line = Buffer.from(`${JSON.stringify(report)}\n`);
  for (let sent = 0; sent < line.length; ) {
    try {
      sent += writeSync(reportsTo, line, sent);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  }
}

const batch = JSON.parse(process.argv[2]!) as Batch;
const target = targets.find(({ name }) => name === batch.target)!;
let current = batch.from;
let refused = 0;

function fail(what: string, error?: unknown): void {
  const detail = error instanceof Error ? `${error.stack}\n${causesOf(error)}` : String(error ?? what);
  tell({ kind: 'failure', number: current, what, signature: signatureOf(what, error), detail: detail.slice(0, 4000) });
}

function causesOf({ cause }: Error): string {
  return cause instanceof Error ? `caused by ${cause.stack}\n${causesOf(cause)}` : '';
}

process.on('unhandledRejection', (error) => fail('an unhandled rejection', error));
process.on('uncaughtException', (error) => fail('an uncaught exception', error));

// How long the event loop is silent while this process computes: time in which others had the processor does not count.
let lastBeat = performance.now();
let lastCpu = process.cpuUsage();
let silence = 0;
function beat(): void {
  const now = performance.now();
  const cpu = process.cpuUsage();
  const used = (cpu.user - lastCpu.user + cpu.system - lastCpu.system) / 1000;
  silence = Math.max(silence, Math.min(now - lastBeat, used));
  lastBeat = now;
  lastCpu = cpu;
}
setInterval(beat, 50);

/** What is in a folder: names, and of files size and time. */
function listing(folder: string): string {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
  const lines = names.map((name) => {
    const found = lstatSync(join(folder, name));
    return found.isFile() ? `${name} ${found.size} ${found.mtimeMs}` : name;
  });
  return lines.join('\n');
}

const hasChildren = () => process.getActiveResourcesInfo().includes('ProcessWrap');

async function runCase(run: Target['run'], random: Random, folder: string): Promise<void> {
  const before = target.files ? listing(folder) : '';
  beat();
  silence = 0;
  try {
    await run(folder, random);
  } catch (error) {
    const complaint = complaintAbout(error, target);
    if (complaint === undefined) refused++;
    else fail(complaint, error);
  }
  // Rejections that nobody handles are told after this, and timers run.
  await new Promise((resolve) => setImmediate(resolve));
  beat();
  if (silence > longestSilence) fail(`the event loop is silent for ${(silence / 1000).toFixed(0)} s`);
  // A process that was killed is gone a moment after its call has settled.
  for (let waited = 0; hasChildren() && waited < 50; waited++) await new Promise((resolve) => setTimeout(resolve, 20));
  if (hasChildren()) fail('a process of ours is left');
  if (target.files && listing(folder) !== before) fail('files beside the input are changed', listing(folder));
  const left = readdirSync(process.env.TMPDIR!);
  if (left.length > 0) {
    fail('temporary files are left', left.join(', '));
    for (const name of left) rmSync(join(process.env.TMPDIR!, name), { recursive: true, force: true });
  }
}

async function main(): Promise<void> {
  mkdirSync(process.env.TMPDIR!, { recursive: true });
  await target.prepare?.(batch.folder);
  for (current = batch.from; current < batch.to; current++) {
    const random = new Random(`${target.name}/${batch.seed}/${current}`);
    const folder = mkdtempSync(join(batch.folder, 'case-'));
    if (batch.input !== undefined) await cp(batch.input, folder, { recursive: true });
    else if (target.files) await writeFiles(folder, target.files(random));
    tell({ kind: 'begin', number: current });
    await runCase(target.run, random, folder);
    rmSync(folder, { recursive: true, force: true });
  }
  tell({ kind: 'refused', count: refused });
}

main().then(
  () => process.exit(0),
  (error: Error) => {
    fail('the fuzzer itself fails', error);
    process.exit(3);
  },
);
