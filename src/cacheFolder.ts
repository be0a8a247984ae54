import { join } from 'node:path';
import envPaths from 'env-paths';

/**
 * Where what can be made again is kept: `$LONGVLM_CACHE`, else the platform's own folder for it (`~/.cache/longvlm`,
 * `~/Library/Caches/longvlm`, `%LOCALAPPDATA%\longvlm\Cache`).
 *
 * @param part a folder in it
 */
export function cacheFolder(part: string): string {
  return join(process.env.LONGVLM_CACHE || envPaths('longvlm', { suffix: '' }).cache, part);
}
