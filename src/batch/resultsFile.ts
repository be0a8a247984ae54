// The file that the results of a batch are appended to. It is all that a batch needs to go on after it was killed.
import { type FileHandle, open, realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isErrorOf, LongVLMError, messageOf } from '../base/errors.js';
import { type Line, readLines, textOf } from '../base/lines.js';
import { exists } from '../base/regularFile.js';
import { checkReplaceable, writeWholeFile } from '../base/wholeFile.js';
import { writeError } from '../base/writeError.js';
import { acquireLock, isHeld, type Lock, lockEnding } from '../cache/lock.js';
import { type KnownResult, type ResultForm, readResultLine } from './resultLine.js';

/** Options of {@link ResultsFile.open}. */
export type ResultsFileOptions = {
  readonly form: ResultForm;
  /** As {@link modelKey} makes it. */
  readonly model: string;
  /** Removes the failures, so that these items are asked again. */
  readonly retry: boolean;
  /** Removes results of other models and options. */
  readonly force: boolean;
};

/** Results may have a model's longest answer, and what was used for it. */
const longestLine = 64 << 20;
/** How all lines of results begin. */
const beginning = '{"id":"';
/** How long two that begin at the same moment may keep each other waiting. */
const raceMs = 2000;

/** A results file that no other batch writes to until it is closed. */
export class ResultsFile {
  /** Why items failed, by what stands for them in keys; undefined for those that were answered. */
  readonly known: ReadonlyMap<string, string | undefined>;
  readonly #file: string;
  readonly #handle: FileHandle;
  readonly #lock: Lock;
  #size: number;

  private constructor(file: string, handle: FileHandle, lock: Lock, size: number, known: ResultsFile['known']) {
    this.#file = file;
    this.#handle = handle;
    this.#lock = lock;
    this.#size = size;
    this.known = known;
  }

  /**
   * Opens the file of an earlier run, or creates it. A last line that was cut off is removed.
   * @throws LongVLMError `ERR_LONGVLM_MISMATCH` when it has results of another model, other options or the other form,
   *   `ERR_LONGVLM_DATASET` when it holds something else or is damaged, `ERR_LONGVLM_FILE` when it cannot be read or written, or
   *   another batch writes to it
   */
  static async open(given: string, options: ResultsFileOptions): Promise<ResultsFile> {
    await checkReplaceable(given);
    // By whatever link: it is locked as one file, and replaced where it is.
    const file = await realpath(given).catch(() => given);
    const lock = await lockFor(file);
    let handle: FileHandle | undefined;
    try {
      const isNew = !(await exists(file));
      const { known, removed, whole, isEnded } = await readKnown(file, options, isNew);
      if (removed.size > 0) await removeLines(file, removed, whole);
      handle = await open(file, 'a');
      const { size } = await handle.stat();
      const end = removed.size > 0 ? size : whole;
      if (end < size) await handle.truncate(end);
      if (!isEnded && removed.size === 0) await handle.appendFile('\n');
      await handle.sync();
      if (isNew) await syncFolder(file);
      return new ResultsFile(file, handle, lock, (await handle.stat()).size, known);
    } catch (error) {
      await handle?.close();
      await lock.release();
      throw (error as NodeJS.ErrnoException).syscall === undefined ? error : writeError(file, error);
    }
  }

  /** Calls `end` with an error when another batch has taken the file over, as this process was suspended for long. */
  whenLost(end: (error: LongVLMError) => void): void {
    const message = `${this.#file} was taken over by another batch while this one did not run. The other one goes on.`;
    const onAbort = () => end(new LongVLMError('ERR_LONGVLM_FILE', message, { cause: this.#lock.lost.reason }));
    this.#lock.lost.addEventListener('abort', onAbort, { once: true });
  }

  /** Appends a line and waits until the disk has it. @throws LongVLMError `ERR_LONGVLM_FILE`; the file ends in a whole line then */
  async append(line: string): Promise<void> {
    const bytes = Buffer.from(`${line}\n`);
    try {
      for (let done = 0; done < bytes.length; )
        done += (await this.#handle.write(bytes, done, bytes.length - done)).bytesWritten;
      await this.#handle.datasync();
      this.#size += bytes.length;
    } catch (error) {
      await this.#handle.truncate(this.#size).catch(() => {});
      throw writeError(this.#file, error);
    }
  }

  async close(): Promise<void> {
    try {
      await this.#handle.close();
    } finally {
      await this.#lock.release();
    }
  }
}

/** What a results file says of the items in it, in order. @throws as {@link ResultsFile.open} */
export async function* readResults(file: string): AsyncGenerator<KnownResult, void, void> {
  for await (const { result } of resultsIn(file)) yield result;
}

async function lockFor(file: string): Promise<Lock> {
  const path = `${file}${lockEnding}`;
  const inUse = () =>
    new LongVLMError(
      'ERR_LONGVLM_FILE',
      `${file} is in use by another batch. Wait until that has ended, or choose another output. If none is running, try again in two minutes.`,
    );
  try {
    if (await isHeld(path)) throw inUse();
    return await acquireLock(path, { signal: AbortSignal.timeout(raceMs) });
  } catch (error) {
    if ((error as Error).name === 'TimeoutError') throw inUse();
    throw (error as NodeJS.ErrnoException).syscall === undefined ? error : writeError(file, error);
  }
}

async function readKnown(file: string, { form, model, retry, force }: ResultsFileOptions, isNew: boolean) {
  const known = new Map<string, string | undefined>();
  /** Numbers of lines. */
  const removed = new Set<number>();
  let whole = 0;
  let isEnded = true;
  if (isNew) return { known, removed, whole, isEnded };
  for await (const { line, result } of resultsIn(file)) {
    if (result.form !== form)
      throw unusable('ERR_LONGVLM_MISMATCH', file, `holds results of ${result.form}, and these are ${form}`);
    whole = line.end;
    isEnded = line.isWhole;
    if (result.model !== model && !force)
      throw unusable(
        'ERR_LONGVLM_MISMATCH',
        file,
        `has results of another model, or of other options, in line ${line.number}`,
        ', or remove these results with force (--force)',
      );
    if (result.model !== model || (retry && result.failure !== undefined)) removed.add(line.number);
    else known.set(result.item, result.failure);
  }
  return { known, removed, whole, isEnded };
}

/** The lines of a file that are results; an end that was cut off is left out. */
async function* resultsIn(file: string): AsyncGenerator<{ line: Line; result: KnownResult }, void, void> {
  for await (const line of readLines(file, undefined, longestLine)) {
    let result: KnownResult;
    try {
      result = readResultLine(textOf(file, line));
    } catch (error) {
      if (isCutOff(line, error)) return;
      if (!(error instanceof LongVLMError) && !isErrorOf(error, 'TypeError', 'RangeError', 'SyntaxError')) throw error;
      throw unusable('ERR_LONGVLM_DATASET', file, `holds no result in line ${line.number} (${messageOf(error)})`);
    }
    yield { line, result };
  }
}

/** Whether a line is the beginning of a result: the process was killed, or the disk was full. */
function isCutOff({ isWhole, number, bytes }: Line, error: unknown): boolean {
  // What is JSON all the same is somebody's file.
  if (isWhole || !(isErrorOf(error, 'SyntaxError') || error instanceof LongVLMError)) return false;
  const first = Buffer.from(bytes.subarray(0, beginning.length)).toString('latin1');
  // After a power failure there may be zeros in its place.
  return number > 1 || beginning.startsWith(first) || /^\0+$/.test(first);
}

function unusable(
  code: 'ERR_LONGVLM_DATASET' | 'ERR_LONGVLM_MISMATCH',
  file: string,
  cause: string,
  also = '',
): LongVLMError {
  return new LongVLMError(code, `${file} ${cause}. Choose another output${also}.`);
}

/** Writes the file anew without some of its lines. Killed in the middle, it leaves the file as it was. */
async function removeLines(file: string, removed: ReadonlySet<number>, end: number): Promise<void> {
  await writeWholeFile(file, async (handle) => {
    for await (const line of readLines(file, undefined, longestLine))
      if (line.end <= end && !removed.has(line.number)) await handle.writeFile(Buffer.concat([line.bytes, lineBreak]));
  });
}

const lineBreak = Buffer.from('\n');

/** Makes sure that a new file has its name. Not every system can. */
async function syncFolder(file: string): Promise<void> {
  const folder = await open(dirname(file)).catch(() => undefined);
  await folder?.sync().catch(() => {});
  await folder?.close();
}
