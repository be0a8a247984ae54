// Hugging Face's cache on disk, in the layout of its own clients: blobs by hash, snapshots with links to blobs, refs to snapshots.
import { link, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { writeWholeFile } from '../../base/wholeFile.js';
import { writeError } from '../../base/writeError.js';

/** The cache's folder: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else `~/.cache/huggingface/hub` (`XDG_CACHE_HOME`). */
export function hubFolder(): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE } = process.env;
  return HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || join(hubHome(), 'hub');
}

/** The folder that contains the cache and the token. */
export function hubHome(): string {
  const { HF_HOME, XDG_CACHE_HOME } = process.env;
  return HF_HOME || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface');
}

/** Whether a file name stays inside its repository's folder, and can be shown. */
export function isWithinRepo(file: string): boolean {
  // A colon after one letter is a drive of Windows, any other one there is a hidden stream of a file.
  const safe = (name: string) => !/^\.{0,2}$|[\p{C}:]/u.test(name);
  return file.split(/[/\\]/).every(safe);
}

/** One model's folder in the cache. */
export class CachedRepo {
  readonly #folder: string;

  /** @param name `owner/name` */
  constructor(name: string) {
    this.#folder = join(hubFolder(), `models--${name.replaceAll('/', '--')}`);
  }

  /** The path of the content with this hash, whether it exists or not. */
  blob(etag: string): string {
    return join(this.#folder, 'blobs', etag);
  }

  /** The last known commit of a branch or tag; for a commit, the commit itself. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (/^[0-9a-f]{40}$/.test(revision)) return revision;
    const text = await readFile(join(this.#folder, 'refs', revision), 'utf8').catch(() => '');
    return /^[0-9a-f]{40}$/.exec(text.trim())?.[0];
  }

  /** @throws LongVLMError `ERR_LONGVLM_FILE` when it cannot be written */
  async saveCommit(revision: string, commit: string): Promise<void> {
    if ((await this.commitOf(revision)) === commit) return;
    const file = join(this.#folder, 'refs', revision);
    await makeFolderOf(file);
    await writeWholeFile(file, async (handle) => handle.writeFile(commit));
  }

  /** Path of a file in a snapshot, whether it exists or not. */
  file(commit: string, name: string): string {
    return join(this.#folder, 'snapshots', commit, name);
  }

  /** Whether a file in a snapshot exists: its link may be dangling. */
  async isThere(commit: string, name: string): Promise<boolean> {
    return stat(this.file(commit, name)).then(
      (found) => found.isFile(),
      () => false,
    );
  }

  /** Names of all files in a snapshot; empty if the snapshot does not exist. */
  async files(commit: string): Promise<string[]> {
    const folder = join(this.#folder, 'snapshots', commit);
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
    return entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)).replaceAll('\\', '/'));
  }

  /**
   * Makes a blob appear in a snapshot: by a relative link, so that the cache folder can be moved. Where a file system has no
   * symbolic links, by a hard link; where it has none either, the blob is moved there.
   *
   * @throws LongVLMError `ERR_LONGVLM_FILE`
   */
  async link(commit: string, name: string, etag: string): Promise<string> {
    const file = this.file(commit, name);
    const blob = this.blob(etag);
    if (await this.isThere(commit, name)) return file;
    await makeFolderOf(file);
    const ways = [() => symlink(relative(dirname(file), blob), file), () => link(blob, file), () => rename(blob, file)];
    for (const [i, way] of ways.entries()) {
      // What is there is a link to a blob that was removed.
      await rm(file, { force: true }).catch(() => {});
      try {
        await way();
        return file;
      } catch (error) {
        // Another process may have been quicker.
        if (await this.isThere(commit, name)) return file;
        if (i === ways.length - 1 || (error as NodeJS.ErrnoException).code === 'ENOSPC') throw writeError(file, error);
      }
    }
    return file;
  }
}

async function makeFolderOf(file: string): Promise<void> {
  const folder = dirname(file);
  await mkdir(folder, { recursive: true }).catch((error: unknown) => Promise.reject(writeError(folder, error)));
}
