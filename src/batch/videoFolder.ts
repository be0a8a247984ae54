import { readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { LongVLMError } from '../base/errors.js';
import { fileError } from '../base/fileError.js';
import { printable } from '../base/printable.js';

/** How the names of videos end. */
export const videoEndings = [
  ...['.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.wmv', '.flv', '.mpg', '.mpeg'],
  ...['.ts', '.mts', '.m2ts', '.ogv', '.3gp', '.gif'],
] as const;

const endings: ReadonlySet<string> = new Set(videoEndings);

/**
 * The videos in a folder, by the endings of their names, relative to it and sorted. What is hidden is left out, and links to folders
 * are not followed.
 * @throws LongVLMError `ERR_LONGVLM_FILE` for a folder that cannot be read, `ERR_LONGVLM_DATASET` when there is no video
 */
export async function videosIn(
  folder: string,
  { recursive, signal }: { readonly recursive: boolean; readonly signal?: AbortSignal | undefined },
): Promise<string[]> {
  const videos: string[] = [];
  let folders = 0;
  const visit = async (within: string): Promise<void> => {
    signal?.throwIfAborted();
    const place = join(folder, within);
    const entries = await readdir(place, { withFileTypes: true }).catch((error: unknown) => {
      throw fileError(place, error);
    });
    for (const entry of entries) {
      const name = within === '' ? entry.name : `${within}/${entry.name}`;
      if (entry.name.startsWith('.')) continue;
      if (entry.isDirectory()) {
        folders++;
        if (recursive) await visit(name);
      } else if (endings.has(extname(name).toLowerCase()) && (entry.isFile() || (await isFile(join(folder, name)))))
        videos.push(name);
    }
  };
  await visit('');
  if (videos.length > 0) return videos.sort();
  const hint = folders > 0 && !recursive ? 'Give --recursive for those in its folders' : 'Give another folder';
  throw new LongVLMError(
    'ERR_LONGVLM_DATASET',
    `${printable(folder)} holds no videos (${videoEndings.join(', ')}). ${hint}, or a list of videos.`,
  );
}

/** Whether a link leads to a file. */
async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}
