// Hugging Face's cache on disk, as its own clients lay it out: blobs by hash, snapshots of links to them, refs to snapshots.
import { link, lstat, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, relative } from 'node:path';

/** The cache's folder: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else `~/.cache/huggingface/hub` (`XDG_CACHE_HOME`). */
export function hubFolder(): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE } = process.env;
  return HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || join(hubHome(), 'hub');
}

/** The folder of cache and token. */
export function hubHome(): string {
  const { HF_HOME, XDG_CACHE_HOME } = process.env;
  return HF_HOME || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface');
}

/** Whether a file's name leads nowhere else than into its repository. */
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

  /** Where the content with this hash lies, or is to lie. */
  blob(etag: string): string {
    return join(this.#folder, 'blobs', etag);
  }

  /** The commit that a branch or tag was last seen at; a commit is itself. */
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

  /** Path of a file in a snapshot, whether it is there or not. */
  file(commit: string, name: string): string {
    return join(this.#folder, 'snapshots', commit, name);
  }

  /** Whether a file in a snapshot is there: its link may lead to a blob that was removed. */
  async isThere(commit: string, name: string): Promise<boolean> {
    return stat(this.file(commit, name)).then(
      (found) => found.isFile(),
      () => false,
    );
  }

  /** Names of all files in a snapshot; none where there is no such snapshot. */
  async files(commit: string): Promise<string[]> {
    const folder = join(this.#folder, 'snapshots', commit);
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
    return entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)).replaceAll('\\', '/'));
  }

  /** Puts a blob into a snapshot: by a link relative to it, so that the cache can be moved. */
  async link(commit: string, name: string, etag: string): Promise<string> {
    const file = this.file(commit, name);
    await mkdir(dirname(file), { recursive: true });
    try {
      await symlink(relative(dirname(file), this.blob(etag)), file);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // Windows lets not everybody make links.
      if (code === 'EPERM') await link(this.blob(etag), file);
      else if (code !== 'EEXIST' || !(await lstat(file)).isSymbolicLink()) throw error;
    }
    return file;
  }
}
