// Paths of strangers: only files in one folder may be named.
import { realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { LongVLMError } from './errors.js';
import { fileError } from './fileError.js';
import { printable } from './printable.js';
import { checkString } from './validate.js';

/** The real path of the folder that all videos must be in. @throws TypeError, RangeError; LongVLMError `ERR_LONGVLM_FILE` */
export async function realRoot(root: string): Promise<string> {
  checkString('root', root);
  const real = await realpath(root).catch((error: unknown) => Promise.reject(fileError(root, error)));
  if ((await stat(real)).isDirectory()) return real;
  throw new LongVLMError('ERR_LONGVLM_FILE', `${root} is not a folder. Give the folder of the videos for root.`);
}

/**
 * The real path of a video, which is in the root; its own path if there is no such file.
 * @param root as {@link realRoot} gives it
 * @throws LongVLMError `ERR_LONGVLM_DATASET` for a path or URL that leads out of it
 */
export async function realPathWithin(root: string, video: string): Promise<string> {
  const whole = path.resolve(video);
  // Before it is looked for: whether other files exist is nobody's business.
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(video) || !isWithin(root, whole)) throw outside(root, video);
  const real = await realpath(whole).catch(() => undefined);
  if (real !== undefined && !isWithin(root, real)) throw outside(root, video);
  return real ?? whole;
}

function isWithin(root: string, file: string): boolean {
  return file.startsWith(root.endsWith(path.sep) ? root : root + path.sep);
}

function outside(root: string, video: string): LongVLMError {
  return new LongVLMError('ERR_LONGVLM_DATASET', `${printable(video)} is outside of the root ${root}`);
}
