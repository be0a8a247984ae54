// The answers of an unfinished evaluation, so that a later run can resume it.
import { type FileHandle, open, rm } from 'node:fs/promises';
import * as v from 'valibot';
import { LongVLMError, messageOf } from '../base/errors.js';
import { parseJsonText } from '../base/json.js';
import { readLines, textOf } from '../base/lines.js';
import { beginningOf } from '../base/regularFile.js';
import { integer, nonEmptyString, parse } from '../base/schema.js';
import { removeAbandoned, temporaryPath } from '../base/temporaryName.js';
import { wrongValue } from '../base/validate.js';
import { checkReplaceable } from '../base/wholeFile.js';
import { writeError } from '../base/writeError.js';
import type { DatasetEntry } from './dataset.js';

/** Hashes of everything that answers depend on. */
export type RunIdentity = { readonly dataset: string; readonly model: string; readonly settings: string };

const format = 'longvlm.evaluation';
const formatVersion = 1;

const headerSchema = v.object({
  format: v.literal(format),
  version: v.literal(formatVersion),
  dataset: nonEmptyString,
  model: nonEmptyString,
  settings: nonEmptyString,
});

/** A JSON Lines file: first the identity of the run, then a line with index and answers for each answered entry. */
export class ResumeFile {
  /** The answers of earlier runs, by the entries' indices. */
  readonly answers: ReadonlyMap<number, readonly string[]>;
  readonly #file: string;
  readonly #handle: FileHandle;
  readonly #claim: string;

  private constructor(
    file: string,
    handle: FileHandle,
    claim: string,
    answers: ReadonlyMap<number, readonly string[]>,
  ) {
    this.#file = file;
    this.#handle = handle;
    this.#claim = claim;
    this.answers = answers;
  }

  /**
   * Reads the file of an earlier run, or creates it. An incomplete last line is dropped. Until it is closed, no other
   * evaluation can use it.
   * @throws LongVLMError `ERR_LONGVLM_MISMATCH` when the file belongs to another run, `ERR_LONGVLM_DATASET` when it is
   *   damaged, `ERR_LONGVLM_FILE` when it cannot be read or written, or another evaluation uses it
   */
  static async open(file: string, run: RunIdentity, entries: readonly DatasetEntry[]): Promise<ResumeFile> {
    await checkReplaceable(file);
    const header = `${JSON.stringify({ format, version: formatVersion, ...run })}\n`;
    // Before the rest is read: another file may be large.
    const first = (await beginningOf(file, 4096))?.toString() ?? '';
    const isHeaderWhole = first.includes('\n');
    if (isHeaderWhole) checkHeader(file, first.slice(0, first.indexOf('\n')), run);
    else if (!header.startsWith(first)) throw damaged(file, isNone);
    const claim = await claimed(file);
    let handle: FileHandle | undefined;
    try {
      const { answers, wholeBytes } = isHeaderWhole
        ? await readAnswers(file, entries)
        : { answers: new Map<number, readonly string[]>(), wholeBytes: 0 };
      handle = await open(file, 'a');
      await handle.truncate(wholeBytes);
      if (wholeBytes === 0) await handle.appendFile(header);
      return new ResumeFile(file, handle, claim, answers);
    } catch (error) {
      await handle?.close();
      await rm(claim, { force: true }).catch(() => {});
      throw error instanceof LongVLMError ? error : writeError(file, error);
    }
  }

  /** Appends the answers to an entry. @throws LongVLMError `ERR_LONGVLM_FILE` */
  async append(entry: number, answers: readonly string[]): Promise<void> {
    await this.#handle.appendFile(`${JSON.stringify({ entry, answers })}\n`).catch((error: unknown) => {
      throw writeError(this.#file, error);
    });
  }

  async close(): Promise<void> {
    try {
      await this.#handle.close();
    } finally {
      await rm(this.#claim, { force: true }).catch(() => {});
    }
  }
}

/** Makes a file beside it that shows others that it is in use, also those in other processes. @returns its path */
async function claimed(file: string): Promise<string> {
  const claim = temporaryPath(file);
  await open(claim, 'wx')
    .then((handle) => handle.close())
    .catch((error: unknown) => {
      throw writeError(file, error);
    });
  // Of two that begin at the same moment, both may find the other one, but never neither.
  const [other] = (await removeAbandoned(file)).filter((found) => found !== claim);
  if (other === undefined) return claim;
  await rm(claim, { force: true }).catch(() => {});
  throw new LongVLMError(
    'ERR_LONGVLM_FILE',
    `${file} is in use by another evaluation. Wait until that has ended, or choose another output. If none is running, delete ${other}.`,
  );
}

async function readAnswers(file: string, entries: readonly DatasetEntry[]) {
  const answers = new Map<number, readonly string[]>();
  let wholeBytes = 0;
  for await (const line of readLines(file)) {
    if (!line.isWhole) break;
    if (line.number > 1) answers.set(...answersIn(file, textOf(file, line), line.number, entries));
    wholeBytes = line.end;
  }
  return { answers, wholeBytes };
}

const isNone = 'is no evaluation that was left unfinished';

function damaged(file: string, cause: string, error?: unknown): LongVLMError {
  return new LongVLMError(
    'ERR_LONGVLM_DATASET',
    `${file} ${cause}. Delete it to start again, or choose another output.`,
    { cause: error },
  );
}

function checkHeader(file: string, line: string, run: RunIdentity): void {
  let header: RunIdentity;
  try {
    header = parse(headerSchema, parseJsonText(line), 'the first line');
  } catch (error) {
    throw damaged(file, `${isNone} (${messageOf(error)})`, error);
  }
  const other = [
    ...(header.dataset === run.dataset ? [] : ['another data set']),
    ...(header.model === run.model ? [] : ['another model']),
    ...(header.settings === run.settings ? [] : ['other settings']),
  ];
  if (other.length > 0)
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `${file} was left by an evaluation with ${other.join(', ')}. Delete it to start again, or choose another output.`,
    );
}

function answersIn(
  file: string,
  line: string,
  number: number,
  entries: readonly DatasetEntry[],
): readonly [number, readonly string[]] {
  try {
    const schema = v.object({ entry: integer(0, entries.length - 1), answers: v.array(v.string()) });
    const { entry, answers } = parse(schema, parseJsonText(line), 'the line');
    const count = entries[entry]!.question2 === undefined ? 1 : 2;
    if (answers.length !== count) wrongValue('answers.length', String(count), answers.length);
    return [entry, answers];
  } catch (error) {
    throw damaged(file, `is damaged in line ${number} (${messageOf(error)})`, error);
  }
}
