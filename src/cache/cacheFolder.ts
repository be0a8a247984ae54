import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import envPaths from 'env-paths';
import { LongVLMError, messageOf } from '../base/errors.js';

/**
 * Where what can be made again is kept: `$LONGVLM_CACHE`, else the platform's own folder for it (`~/.cache/longvlm`,
 * `~/Library/Caches/longvlm`, `%LOCALAPPDATA%\longvlm\Cache`).
 *
 * @param name a folder in it
 */
export function cacheFolder(name: string): string {
  return join(process.env.LONGVLM_CACHE || envPaths('longvlm', { suffix: '' }).cache, name);
}

/** Makes {@link cacheFolder}. @throws LongVLMError `ERR_LONGVLM_FILE` */
export async function makeCacheFolder(name: string): Promise<string> {
  const folder = cacheFolder(name);
  try {
    await mkdir(folder, { recursive: true });
    return folder;
  } catch (error) {
    throw new LongVLMError(
      'ERR_LONGVLM_FILE',
      `The cache folder ${folder} cannot be made (${messageOf(error)}). Set LONGVLM_CACHE to a folder that can be written${name === 'videos' ? ', or use --no-cache' : ''}.`,
      { cause: error },
    );
  }
}
