// The mark of a process in the names of its temporary files and folders: so what a killed process left is known from what
// another one uses.
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { hostname } from 'node:os';

/** How the mark of a process looks: where it runs, its number, and when it began. */
export const markPattern = '[0-9a-f]{8}-\\d+-[0-9a-z]+';

/** Age at which what an unknown process left untouched is taken for abandoned. */
const abandonedMs = 24 * 3600 * 1000;

let known: { readonly place: string; readonly mark: string } | undefined;

/** The mark of this process. */
export function ownMark(): string {
  return own().mark;
}

/**
 * Whether the process with that mark, whose file or folder is at `path`, is `gone` or `running`. Processes of other hosts,
 * containers and releases, and of before a restart, are `unknown`; what they have not touched for a day is abandoned.
 */
export async function ownerOf(mark: string | undefined, path: string): Promise<'gone' | 'running' | 'unknown'> {
  const [place, id, began] = mark?.split('-') ?? [];
  if (place !== undefined && place === own().place) return isRunning(Number(id), began!) ? 'running' : 'gone';
  const found = await lstat(path).catch(() => undefined);
  return found !== undefined && Date.now() - found.mtimeMs > abandonedMs ? 'gone' : 'unknown';
}

function own() {
  if (known) return known;
  // Numbers of processes count since the start of the machine, in a container of their own.
  const parts = [
    hostname(),
    read(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')),
    read(() => readlinkSync('/proc/self/ns/pid')),
  ];
  const place = createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 8);
  known = { place, mark: `${place}-${process.pid}-${statusOf(process.pid)?.began ?? '0'}` };
  return known;
}

function isRunning(id: number, began: string): boolean {
  try {
    process.kill(id, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
  const status = statusOf(id);
  // Another process may have got the number since.
  return status === undefined || (status.began === began && !'ZX'.includes(status.state));
}

/** State and start of a process, where the system tells. */
function statusOf(id: number): { readonly state: string; readonly began: string } | undefined {
  const [, state, began] =
    /\) (\S) (?:\S+ ){18}(\d+)/.exec(read(() => readFileSync(`/proc/${id}/stat`, 'latin1'))) ?? [];
  return began === undefined ? undefined : { state: state!, began: Number(began).toString(36) };
}

function read(from: () => string): string {
  try {
    return from();
  } catch {
    return '';
  }
}
