import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import envPaths from 'env-paths';
import { LongVLMError, messageOf } from '../base/errors.js';

/**
 * Where what can be made again is kept: `$LONGVLM_CACHE`, else the platform's own folder for it (`~/.cache/longvlm`,
 * `~/Library/Caches/longvlm`, `%LOCALAPPDATA%\longvlm\Cache`).
 *
 * @param part a folder in it
 */
export function cacheFolder(part: string): string {
  return join(process.env.LONGVLM_CACHE || envPaths('longvlm', { suffix: '' }).cache, part);
}

/** Makes {@link cacheFolder}. @throws LongVLMError `ERR_LONGVLM_FILE` */
export async function makeCacheFolder(part: string): Promise<string> {
  const folder = cacheFolder(part);
  try {
    await mkdir(folder, { recursive: true });
    return folder;
  } catch (error) {
    throw new LongVLMError(
      'ERR_LONGVLM_FILE',
      `The cache folder ${folder} cannot be made (${messageOf(error)}). Set LONGVLM_CACHE to a folder that can be written${part === 'videos' ? ', or use --no-cache' : ''}.`,
      { cause: error },
    );
  }
}
