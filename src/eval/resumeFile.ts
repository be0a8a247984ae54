// The answers of an unfinished evaluation, so that a later run can resume it.
import { type FileHandle, open, readFile } from 'node:fs/promises';
import * as v from 'valibot';
import { LongVLMError, messageOf } from '../base/errors.js';
import { fileError } from '../base/fileError.js';
import { integer, nonEmptyString, parse } from '../base/schema.js';
import { wrongValue } from '../base/validate.js';
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

  private constructor(file: string, handle: FileHandle, answers: ReadonlyMap<number, readonly string[]>) {
    this.#file = file;
    this.#handle = handle;
    this.answers = answers;
  }

  /**
   * Reads the file of an earlier run, or creates it. An incomplete last line is dropped.
   * @throws LongVLMError `ERR_LONGVLM_MISMATCH` when the file belongs to another run, `ERR_LONGVLM_DATASET` when it is
   *   damaged, `ERR_LONGVLM_FILE` when it cannot be read or written
   */
  static async open(file: string, run: RunIdentity, entries: readonly DatasetEntry[]): Promise<ResumeFile> {
    const header = `${JSON.stringify({ format, version: formatVersion, ...run })}\n`;
    const bytes = await readFile(file).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return Buffer.alloc(0);
      throw fileError(file, error);
    });
    const wholeBytes = bytes.lastIndexOf('\n') + 1;
    const [first, ...lines] = bytes.toString('utf8', 0, wholeBytes).split('\n').slice(0, -1);
    if (first !== undefined) checkHeader(file, first, run);
    else if (!header.startsWith(bytes.toString())) throw damaged(file, isNone);
    const answers = new Map(lines.map((line, index) => parseLine(file, line, index + 2, entries)));
    let handle: FileHandle | undefined;
    try {
      handle = await open(file, 'a');
      await handle.truncate(wholeBytes);
      if (wholeBytes === 0) await handle.appendFile(header);
      return new ResumeFile(file, handle, answers);
    } catch (error) {
      await handle?.close();
      throw fileError(file, error);
    }
  }

  /** Appends the answers to an entry. @throws LongVLMError `ERR_LONGVLM_FILE` */
  async append(entry: number, answers: readonly string[]): Promise<void> {
    await this.#handle.appendFile(`${JSON.stringify({ entry, answers })}\n`).catch((error: unknown) => {
      throw fileError(this.#file, error);
    });
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
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
    header = parse(headerSchema, JSON.parse(line), 'the first line');
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

function parseLine(
  file: string,
  line: string,
  number: number,
  entries: readonly DatasetEntry[],
): readonly [number, readonly string[]] {
  try {
    const schema = v.object({ entry: integer(0, entries.length - 1), answers: v.array(v.string()) });
    const { entry, answers } = parse(schema, JSON.parse(line), 'the line');
    const count = entries[entry]!.question2 === undefined ? 1 : 2;
    if (answers.length !== count) wrongValue('answers.length', String(count), answers.length);
    return [entry, answers];
  } catch (error) {
    throw damaged(file, `is damaged in line ${number} (${messageOf(error)})`, error);
  }
}
