// The mark of a process in the names of its temporary folders.
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** When a process began, in ticks since the start of the system; `0` where it cannot be told; undefined without the process. */
function beginningOf(pid: number): string | undefined {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return undefined;
  }
  try {
    // The name of the program, in brackets, may hold anything.
    return readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ')[19];
  } catch {
    return '0';
  }
}

/** Where numbers of processes mean the same: this host, and on Linux this container. */
function place(): string {
  let space = '';
  try {
    space = readlinkSync('/proc/self/ns/pid');
  } catch {
    // Not on Linux.
  }
  return createHash('sha256').update(`${hostname()} ${space}`).digest('hex').slice(0, 12);
}

/** The mark of this process: letters, digits and hyphens. */
export function ownMark(): string {
  return `${process.pid}-${beginningOf(process.pid)}-${place()}`;
}

/** Whether `mark` is surely one of a process that ended: never for one of another host or container. */
export function isOfTheDead(mark: string): boolean {
  const [, pid, began, where] = /^(\d+)-(\d+)-([0-9a-f]{12})$/.exec(mark) ?? [];
  if (pid === undefined || where !== place()) return false;
  const found = beginningOf(Number(pid));
  return found === undefined || (began !== '0' && found !== '0' && found !== began);
}
