// Temporary files of this process for videos from URLs, bytes and streams.
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { lstat, open, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removeAfterDeath } from '../base/caretaker.js';
import { LongVLMError, messageOf } from '../base/errors.js';
import { fileError } from '../base/fileError.js';
import { markPattern, ownerOf, ownMark } from '../base/owner.js';

/** A file that is removed when it is disposed, or when Node exits. */
export type TemporaryFile = {
  readonly path: string;
  /** SHA-256 of the content, 64 hexadecimal digits. */
  readonly contentHash: string;
  /** Removes the file. Safe to call twice. */
  dispose(): Promise<void>;
};

const PREFIX = 'longvlm-';
const NAME = new RegExp(`^${PREFIX}(${markPattern})-[^-]{6}$`);

/** The folder of this process, which only its user can read. It exists while it contains files. */
let folder: string | undefined;
/** Takes back that it is removed when this process is killed. */
let keepFolder = () => {};
let swept: Promise<void> | undefined;
let files = 0;
let made = 0;
let watchesExit = false;

/**
 * Writes `chunks` to a new file.
 *
 * @param ending Extension of the file name, such as `.mp4`.
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the file cannot be written; errors of `chunks`. The file is removed then.
 */
export async function writeTemporaryFile(ending: string, chunks: AsyncIterable<Uint8Array>): Promise<TemporaryFile> {
  swept ??= sweep();
  await swept;
  const path = newPath(ending);
  let disposal: Promise<void> | undefined;
  const dispose = () => (disposal ??= remove(path));
  try {
    const hash = createHash('sha256');
    const handle = await open(path, 'wx', 0o600).catch((error: unknown) => Promise.reject(writeError(error)));
    try {
      for await (const chunk of chunks) {
        hash.update(chunk);
        for (let done = 0; done < chunk.length; ) {
          const { bytesWritten } = await handle
            .write(chunk, done, chunk.length - done)
            .catch((error: unknown) => Promise.reject(writeError(error)));
          done += bytesWritten;
        }
      }
    } finally {
      await handle.close();
    }
    return { path, contentHash: hash.digest('hex'), dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

function newPath(ending: string): string {
  // Synchronous, so that no other call removes the folder in between.
  try {
    if (folder === undefined) {
      folder = mkdtempSync(join(tmpdir(), `${PREFIX}${ownMark()}-`));
      keepFolder = removeAfterDeath(folder);
    }
  } catch (error) {
    throw writeError(error);
  }
  if (!watchesExit) {
    process.on('exit', () => {
      if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
    });
    watchesExit = true;
  }
  files++;
  return join(folder, `${made++}${ending}`);
}

async function remove(path: string): Promise<void> {
  try {
    // On Windows, a file that an exiting process still has open cannot be removed: retry.
    await rm(path, { recursive: true, force: true, maxRetries: 5 });
  } finally {
    files--;
    if (files === 0 && folder !== undefined) {
      const empty = folder;
      folder = undefined;
      rmSync(empty, { recursive: true, force: true });
      keepFolder();
    }
  }
}

/** Removes what processes of this user left here that could not tidy up, because the machine was switched off. */
async function sweep(): Promise<void> {
  for (const name of await readdir(tmpdir()).catch(() => [])) {
    const mark = NAME.exec(name)?.[1];
    const path = join(tmpdir(), name);
    if (mark === undefined || (await ownerOf(mark, path)) !== 'gone') continue;
    const found = await lstat(path).catch(() => undefined);
    if (found?.isDirectory() && found.uid === (process.getuid?.() ?? found.uid))
      await rm(path, { recursive: true, force: true }).catch(() => {});
  }
}

function writeError(error: unknown): LongVLMError {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EMFILE' || code === 'ENFILE') return fileError(tmpdir(), error);
  const full = code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG';
  const cause = full ? `there is no room for the video in ${tmpdir()} (${code})` : messageOf(error);
  const remedy = full ? 'Free space there' : 'Make that folder writable';
  return new LongVLMError(
    'ERR_LONGVLM_FILE',
    `Cannot write a temporary file: ${cause}. ${remedy}, or name another folder in the environment's TMPDIR (TEMP on Windows).`,
    { cause: error },
  );
}
