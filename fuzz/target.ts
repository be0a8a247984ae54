// What is fuzzed.
import { copyFile, link, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Random } from './random.js';

/** Files of a case by path; a file that is not changed is only linked. */
export type Files = Readonly<Record<string, Uint8Array | { readonly link: string }>>;

export type Target = {
  readonly name: string;
  /** Cases that one process does. */
  readonly batch: number;
  /** Longer, and a case hangs. */
  readonly seconds: number;
  /** More resident memory than this is a failure. */
  readonly megabytes: number;
  /** How much of the time it gets, next to the others. */
  readonly share: number;
  /** Whether `TypeError` and `RangeError` of our wording are right answers: not where only a file is wrong. */
  readonly argumentErrors: boolean;
  /** Makes what the target always needs; it lasts as long as the process. */
  readonly prepare?: (folder: string) => Promise<void>;
  /** Files of a case; none for targets that only call. */
  readonly files?: (random: Random) => Files;
  /** Does the case: an error is judged, anything else is right. `folder` holds its files. */
  readonly run: (folder: string, random: Random) => Promise<void>;
};

/** What is right of an error by its own class: a wrong result. */
export class WrongResult extends Error {}

/** Thrown by values that targets plant, as a caller's own getters might; a call may pass it on. */
export class Planted extends Error {
  override readonly name = 'Planted';
}

export async function writeFiles(folder: string, files: Files): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    if (name.includes('/')) await mkdir(dirname(path), { recursive: true });
    if (content instanceof Uint8Array) await writeFile(path, content);
    // On another disk there are no links.
    else await link(content.link, path).catch(() => copyFile(content.link, path));
  }
}
