import { LongVLMError, messageOf } from './errors.js';

const remedies: Readonly<Record<string, string>> = {
  ENOSPC: 'Free some space on the disk.',
  EDQUOT: 'Free some space within your quota.',
  EFBIG: 'Raise the limit of the size of files.',
  EMFILE: 'Raise the limit of open files (ulimit -n), or do less at a time.',
  ENFILE: 'Close other programs: the system has too many open files.',
  EROFS: 'Use a folder that can be written.',
};

/** An error of the operating system about a file, as a LongVLMError. */
export function fileError(path: string, error: unknown): LongVLMError {
  const { code = '' } = error as NodeJS.ErrnoException;
  const cause = code === 'ENOENT' ? 'does not exist' : `cannot be used (${messageOf(error)})`;
  const remedy = remedies[code] ?? 'Check the path and its permissions.';
  return new LongVLMError('ERR_LONGVLM_FILE', `${path} ${cause}. ${remedy}`, { cause: error });
}
