import { LongVLMError, messageOf } from './errors.js';
import { printable } from './printable.js';

const PERMISSIONS = 'Check the path and its permissions.';
const DESCRIPTORS =
  'Close files, do less at the same time, or raise the limit of open files (`ulimit -n` in a shell, before Node starts).';

/** What errors of the operating system mean for a file, and their remedies. */
const CAUSES: Record<string, readonly [cause: string, remedy: string]> = {
  ENOENT: ['does not exist', PERMISSIONS],
  ENOTDIR: ['does not exist', PERMISSIONS],
  EACCES: ['cannot be used: permission denied', PERMISSIONS],
  EPERM: ['cannot be used: permission denied', PERMISSIONS],
  EISDIR: ['is a folder', 'Give the path of a file.'],
  ELOOP: ['cannot be used: its links lead in a circle', PERMISSIONS],
  ENAMETOOLONG: ['cannot be used: the name is too long', 'Give a shorter path.'],
  ERR_INVALID_ARG_VALUE: ['is no path: it holds a zero byte', 'Check the path.'],
  EMFILE: ['cannot be opened: this process has too many files open', DESCRIPTORS],
  ENFILE: ['cannot be opened: the system has too many files open', DESCRIPTORS],
  ENOSPC: ['cannot be written: the disk is full', 'Free some space on it.'],
  EDQUOT: ['cannot be written: your quota of the disk is used up', 'Free some space on it.'],
  EFBIG: ['cannot be written: a file may not be so large', 'Raise the limit (`ulimit -f`), or use another disk.'],
  EROFS: ['cannot be written: the disk is read-only', 'Use a folder that can be written.'],
};

/** An error of the operating system about a file, as a LongVLMError. */
export function fileError(path: string, error: unknown): LongVLMError {
  const { code = '' } = error as NodeJS.ErrnoException;
  const known = Object.hasOwn(CAUSES, code) ? CAUSES[code] : undefined;
  const [cause, remedy] = known ?? [`cannot be used (${printable(messageOf(error))})`, PERMISSIONS];
  // Node gives the replacement character for bytes of a name that are no UTF-8.
  const unreadable = known === CAUSES.ENOENT && path.includes('\uFFFD');
  return new LongVLMError(
    'ERR_LONGVLM_FILE',
    `${printable(path)} ${cause}. ${unreadable ? 'If its name is not in UTF-8, rename the file.' : remedy}`,
    { cause: error },
  );
}
