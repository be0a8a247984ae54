// Hugging Face's cache on disk, in the layout of its own clients: blobs by hash, snapshots with links to blobs, refs to snapshots.
import { link, lstat, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, relative } from 'node:path';

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

/** Whether a file name stays inside its repository's folder. */
export function isWithinRepo(file: string): boolean {
  return file.split(/[/\\]/).every((name) => name !== '' && name !== '.' && name !== '..');
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
    const text = await readFile(join(this.#folder, 'refs', revision), 'utf8').catch(() => undefined);
    return text?.trim() || undefined;
  }

  async saveCommit(revision: string, commit: string): Promise<void> {
    if (revision === commit) return;
    const file = join(this.#folder, 'refs', revision);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, commit);
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

  /** Links a blob into a snapshot. The link is relative, so that the cache folder can be moved. */
  async link(commit: string, name: string, etag: string): Promise<string> {
    const file = this.file(commit, name);
    await mkdir(dirname(file), { recursive: true });
    try {
      await symlink(relative(dirname(file), this.blob(etag)), file);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // On Windows, symbolic links need a privilege: fall back to a hard link.
      if (code === 'EPERM') await link(this.blob(etag), file);
      else if (code !== 'EEXIST' || !(await lstat(file)).isSymbolicLink()) throw error;
    }
    return file;
  }
}
