// Names of temporary files tell whose they are: so what a killed process left is known from what another one is writing.
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { lstat, readdir, rm, rmdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';

/** The ending of temporary file names. */
export const temporaryEnding = '.tmp';

/** Age at which a temporary file of an unknown process is one whose writer crashed. */
const abandonedMs = 24 * 3600 * 1000;
// Names may have 255 bytes.
const longestName = 190;
const tag = /\.longvlm-([0-9a-f]{8})-(\d+)-([0-9a-z]+)-[0-9a-f]{12}\.tmp$/;
// As the releases before named them.
const oldTag = /\.[0-9a-z]{1,12}\.tmp$/;

/** A unique temporary name of this process for writing `path`, in the same folder. */
export function temporaryPath(path: string): string {
  return join(dirname(path), `${stem(path)}.longvlm-${tagsOfThis().process}-${randomBytes(6).toString('hex')}.tmp`);
}

/** The name in whose place the file of a temporary name is made; undefined for other names. */
export function targetOf(name: string): string | undefined {
  const [ending] = tag.exec(name) ?? oldTag.exec(name) ?? [];
  return ending === undefined ? undefined : name.slice(0, -ending.length);
}

/**
 * Whether the process that a temporary file belongs to is `gone` or `running`. Processes of other hosts, containers and releases
 * are `unknown`; what they have not touched for a day is taken for abandoned.
 */
export async function writerOf(path: string): Promise<'gone' | 'running' | 'unknown'> {
  const [, place, id, started] = tag.exec(basename(path)) ?? [];
  if (place !== undefined && place === tagsOfThis().place) return isRunning(Number(id), started!) ? 'running' : 'gone';
  const found = await lstat(path).catch(() => undefined);
  return found !== undefined && Date.now() - found.mtimeMs > abandonedMs ? 'gone' : 'unknown';
}

/**
 * Removes the temporary files that killed processes left while they wrote `path`.
 * @returns the temporary files for it that may still be written
 */
export async function removeAbandoned(path: string): Promise<string[]> {
  const folder = dirname(path);
  const name = stem(path);
  const living: string[] = [];
  for (const found of await readdir(folder).catch(() => [])) {
    // What a release before left beside a file of the user's has too weak a mark.
    if (!tag.test(found) || targetOf(found) !== name) continue;
    const file = join(folder, found);
    if ((await writerOf(file)) === 'gone') await removeTemporary(file);
    else living.push(file);
  }
  return living;
}

/** Removes a temporary file, or a folder if it is empty; never what a link leads to. */
export async function removeTemporary(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isDirectory()) await rmdir(path).catch(() => {});
  else if (found?.isFile()) await rm(path, { force: true }).catch(() => {});
}

function stem(path: string): string {
  const name = basename(path);
  if (Buffer.byteLength(name) <= longestName) return name;
  return createHash('sha256').update(name).digest('hex');
}

let known: { readonly place: string; readonly process: string } | undefined;

function tagsOfThis() {
  if (known) return known;
  // Numbers of processes count since the start of the machine, in a container of their own.
  const parts = [
    hostname(),
    read(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')),
    read(() => readlinkSync('/proc/self/ns/pid')),
  ];
  const place = createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 8);
  known = { place, process: `${place}-${process.pid}-${statusOf(process.pid)?.started ?? '0'}` };
  return known;
}

function isRunning(id: number, started: string): boolean {
  try {
    process.kill(id, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
  const status = statusOf(id);
  // Another process may have got the number since.
  return status === undefined || (status.started === started && !'ZX'.includes(status.state));
}

/** State and start of a process, where the system tells. */
function statusOf(id: number): { readonly state: string; readonly started: string } | undefined {
  const [, state, started] =
    /\) (\S) (?:\S+ ){18}(\d+)/.exec(read(() => readFileSync(`/proc/${id}/stat`, 'utf8'))) ?? [];
  return started === undefined ? undefined : { state: state!, started: Number(started).toString(36) };
}

function read(from: () => string): string {
  try {
    return from();
  } catch {
    return '';
  }
}
