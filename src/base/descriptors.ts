import { closeSync, existsSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import { isAbsolute, join } from 'node:path';

const MORE_DESCRIPTORS =
  'Close files, do less at the same time, or raise the limit of open files (`ulimit -n` in a shell, before Node starts).';

/** Why the system gives no more descriptors, by its codes, and the remedy. */
export const DESCRIPTOR_CAUSES: Readonly<Record<string, readonly [cause: string, remedy: string]>> = {
  EMFILE: ['this process has too many files open', MORE_DESCRIPTORS],
  ENFILE: ['the system has too many files open', MORE_DESCRIPTORS],
};

/** Three pipes of two ends, and what Node needs to start a process with them. */
const NEEDED = 10;

/**
 * Checks that there are so many descriptors, by default enough for a new process. Node loses some for good where they run out
 * while it starts one.
 *
 * @throws the operating system's error, EMFILE or ENFILE
 */
export function checkDescriptors(count = NEEDED): void {
  const opened: number[] = [];
  try {
    while (opened.length < count) opened.push(openSync(devNull, 'r'));
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
}

/** Why there were no descriptors, and the remedy, where an error came of that. */
export function descriptorCause(error: unknown): readonly [cause: string, remedy: string] | undefined {
  const { code = '', message } = (error ?? {}) as NodeJS.ErrnoException;
  if (Object.hasOwn(DESCRIPTOR_CAUSES, code)) return DESCRIPTOR_CAUSES[code];
  return isDenied(String(message)) ? DESCRIPTOR_CAUSES.EMFILE : undefined;
}

/** Whether a library or a thread was denied one, or a package that is there is called missing: its package.json was not read. */
function isDenied(message: string): boolean {
  if (/: (?:Too many open files(?: in system)?|EMFILE|ENFILE)$/.test(message)) return true;
  const [, place = ''] = /^Cannot find package '(.+?)[\\/]?(?:index\.js)?' imported from /.exec(message) ?? [];
  return isAbsolute(place) && existsSync(join(place, 'package.json'));
}
