import { lstat, readdir, rm, utimes } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { LongVLMError } from '../base/errors.js';
import { fileError } from '../base/fileError.js';
import type { OnProgress } from '../base/progress.js';
import { removeTemporary, targetOf, writerOf } from '../base/temporaryName.js';
import { acquireLock, isHeld, lockEnding } from './lock.js';
import { type CallOptions, SharedWork } from './sharedWork.js';

/** A file of a cache. */
export type CachedFile = {
  readonly file: string;
  readonly bytes: number;
  readonly lastUsed: Date;
};

/** Options of {@link FolderCache}. */
export type FolderCacheOptions = {
  /** Files that were not used for longer are removed before the next one is made. Defaults to no limit. */
  readonly maxAgeMs?: number | undefined;
  /**
   * After a file was made, those that were not used for the longest time are removed until no more than this is left; the
   * new one stays. Defaults to no limit.
   */
  readonly maxBytes?: number | undefined;
  /** As in {@link LockOptions}. */
  readonly staleMs?: number | undefined;
  /** How its files are told from others: only these are listed, counted and removed. Defaults to the ending alone. */
  readonly mark?: CacheMark | undefined;
};

/** What the files of a cache have in common, which no other file has. */
export type CacheMark = {
  isKey(key: string): boolean;
  /** Whether the content is a cache's, as far as there is any. */
  isContent(file: string): Promise<boolean>;
};

/** How a value comes out of a file, and into it. */
export type Recipe<T> = {
  /** Gives undefined for a file that is missing, damaged or not what it should be: it is made anew. */
  read(file: string): Promise<T | undefined>;
  /** Makes the value and writes it to `file`, which must appear whole or not at all. */
  make(file: string, signal: AbortSignal, onProgress: OnProgress): Promise<T>;
};

const anyFile: CacheMark = { isKey: () => true, isContent: async () => true };

// What systems put into folders of their own accord.
const ofSystems: ReadonlySet<string> = new Set(['lost+found', 'desktop.ini', 'Thumbs.db', 'CACHEDIR.TAG']);

// Of all caches in this process: several may be open on one folder.
const work = new SharedWork();

/**
 * A folder of files that can be made again, one a key. Equal requests at the same time make a file once, in one process and
 * in all processes and hosts that share the folder.
 */
export class FolderCache {
  readonly #folder: string;
  readonly #ending: string;
  readonly #maxAgeMs: number;
  readonly #maxBytes: number;
  readonly #staleMs: number | undefined;
  readonly #mark: CacheMark;

  /**
   * @param folder an existing folder; what is made where it is missing or cannot be written to is not kept
   * @param ending how the names of its files end
   */
  constructor(folder: string, ending: string, options: FolderCacheOptions = {}) {
    this.#folder = resolve(folder);
    this.#ending = ending;
    this.#maxAgeMs = options.maxAgeMs ?? Number.POSITIVE_INFINITY;
    this.#maxBytes = options.maxBytes ?? Number.POSITIVE_INFINITY;
    this.#staleMs = options.staleMs;
    this.#mark = options.mark ?? anyFile;
  }

  /**
   * Checks that the folder is empty, or was a cache before: it is not to fill a folder of other things.
   * @param remedy the last sentence of the error
   * @throws LongVLMError `ERR_LONGVLM_FILE` when it holds files of others and none of a cache, or cannot be read
   */
  async checkFolder(remedy: string): Promise<void> {
    const names = await this.#names();
    if (names.some((name) => this.#keyOf(name) !== undefined)) return;
    const other = names.find((name) => !name.startsWith('.') && !ofSystems.has(name));
    if (other === undefined) return;
    throw new LongVLMError(
      'ERR_LONGVLM_FILE',
      `${this.#folder} is no cache: it holds other files, such as ${other}. ${remedy}`,
    );
  }

  /**
   * What is kept under a key, or what the recipe makes.
   *
   * While another caller, process or host makes it, this call waits; when that one fails or is killed, one of those that wait
   * takes over. In one process, the first caller's recipe works for all of them: it is aborted when all have aborted.
   *
   * @param key a part of a file name
   * @throws what the recipe throws; `signal.reason`
   */
  getOrMake<T>(key: string, recipe: Recipe<T>, options: CallOptions = {}): Promise<T> {
    const file = join(this.#folder, key + this.#ending);
    return work.run(file, (signal, onProgress) => this.#readOrMake(file, recipe, signal, onProgress), options);
  }

  async #readOrMake<T>(file: string, recipe: Recipe<T>, signal: AbortSignal, onProgress: OnProgress): Promise<T> {
    const kept = await readAndMark(file, recipe);
    if (kept !== undefined) return kept;
    const lock = await acquireLock(file + lockEnding, { signal, staleMs: this.#staleMs }).catch(() => {
      signal.throwIfAborted();
      // Nothing can be written here: the recipe says so, or gives the value all the same.
      return undefined;
    });
    try {
      // Another process may have made it while this one waited.
      const made = lock && (await readAndMark(file, recipe));
      if (made !== undefined) return made;
      signal.throwIfAborted();
      // Before, as the new file may need the space.
      await this.#removeUnused().catch(() => {});
      const value = await recipe.make(file, signal, onProgress);
      await this.#makeRoom(file).catch(() => {});
      return value;
    } finally {
      await lock?.release();
    }
  }

  /** The files, last used first. @throws LongVLMError `ERR_LONGVLM_FILE` when the folder cannot be read */
  async list(): Promise<CachedFile[]> {
    const ours: CachedFile[] = [];
    for (const found of await this.#files()) if (await this.#mark.isContent(found.file)) ours.push(found);
    return ours;
  }

  /** What has the name of one of the files. */
  async #files(): Promise<CachedFile[]> {
    const files: CachedFile[] = [];
    for (const name of await this.#names()) {
      if (!name.endsWith(this.#ending) || this.#keyOf(name) === undefined) continue;
      const file = join(this.#folder, name);
      // Another process may remove it in between.
      const found = await lstat(file).catch(() => undefined);
      if (found?.isFile()) files.push({ file, bytes: found.size, lastUsed: found.mtime });
    }
    return files.sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime());
  }

  /**
   * Removes all files, and what crashed processes left. A file that is being made appears afterwards.
   * @returns the files that were removed
   * @throws LongVLMError `ERR_LONGVLM_FILE` when the folder cannot be read, or a file not removed
   */
  async clear(): Promise<CachedFile[]> {
    const files = await this.list();
    for (const { file } of files)
      await rm(file, { force: true }).catch((error: unknown) => {
        throw fileError(file, error);
      });
    await this.#removeLeftovers(true);
    return files;
  }

  async #removeUnused(): Promise<void> {
    await this.#removeLeftovers(false);
    for (const { file, lastUsed } of await this.#files())
      if (Date.now() - lastUsed.getTime() > this.#maxAgeMs) await this.#evict(file);
  }

  async #makeRoom(newest: string): Promise<void> {
    const files = await this.#files();
    let bytes = files.find(({ file }) => file === newest)?.bytes ?? 0;
    for (const other of files) {
      if (other.file === newest) continue;
      bytes += other.bytes;
      if (bytes > this.#maxBytes) await this.#evict(other.file);
    }
  }

  async #evict(file: string): Promise<void> {
    if (await this.#mark.isContent(file)) await rm(file, { force: true });
  }

  /**
   * Removes locks whose holder is dead, and temporary files whose writer is.
   * @param all whether that goes for every temporary file that no lock protects and no known process writes
   */
  async #removeLeftovers(all: boolean): Promise<void> {
    const names = (await this.#names()).filter((name) => this.#keyOf(name) !== undefined);
    const making: string[] = [];
    for (const name of names)
      if (name.endsWith(lockEnding) && (await isHeld(join(this.#folder, name), this.#staleMs).catch(() => true)))
        making.push(name.slice(0, -lockEnding.length));
    for (const name of names) {
      const target = targetOf(name);
      if (target === undefined) continue;
      const file = join(this.#folder, name);
      const writer = await writerOf(file);
      const isLeft = all && writer === 'unknown' && !making.some((made) => target.startsWith(made));
      if (writer === 'gone' || isLeft) await removeTemporary(file);
    }
  }

  /** The key that a name belongs to: of a file, its lock, or a temporary file for one of them. Undefined for other names. */
  #keyOf(name: string): string | undefined {
    let rest = targetOf(name) ?? name;
    if (rest.endsWith(lockEnding)) rest = rest.slice(0, -lockEnding.length);
    if (!rest.endsWith(this.#ending)) return undefined;
    const key = rest.slice(0, -this.#ending.length);
    return this.#mark.isKey(key) ? key : undefined;
  }

  async #names(): Promise<string[]> {
    try {
      return await readdir(this.#folder);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw fileError(this.#folder, error);
    }
  }
}

async function readAndMark<T>(file: string, recipe: Recipe<T>): Promise<T | undefined> {
  // Links lead to files of others; to open a pipe would wait for its writer.
  if (!(await lstat(file).catch(() => undefined))?.isFile()) return undefined;
  const value = await recipe.read(file);
  const now = new Date();
  if (value !== undefined) await utimes(file, now, now).catch(() => {});
  return value;
}
