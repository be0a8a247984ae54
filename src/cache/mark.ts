// Files of caches are told from a user's by the names that hashes make, and by how they begin.
import { beginningOf } from '../base/regularFile.js';
import type { CacheMark } from './folderCache.js';

// The length of a safetensors header is before it.
const prefixBytes = 8;

/**
 * The mark of safetensors files that are named by a hash.
 * @param beginnings what their headers begin with; a file that was cut short in it is one, too
 */
export function safetensorsMark(...beginnings: readonly string[]): CacheMark {
  return {
    isKey: (key) => /^([a-z0-9]+-)*[0-9a-f]{64}(-[a-z0-9]+)*$/.test(key),
    isContent: async (file) => {
      const bytes = prefixBytes + Math.max(...beginnings.map(({ length }) => length));
      // What cannot be read is not taken for a cache's.
      const found = await beginningOf(file, bytes).catch(() => undefined);
      const text = found?.subarray(prefixBytes).toString('latin1') ?? '';
      if (text === '') return found?.length === 0;
      return beginnings.some((due) => text.startsWith(due) || due.startsWith(text));
    },
  };
}
