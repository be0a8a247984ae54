import { DESCRIPTOR_CAUSES } from './descriptors.js';
import { LongVLMError, messageOf } from './errors.js';
import { printable } from './printable.js';

const PERMISSIONS = 'Check the path and its permissions.';

/** What errors of the operating system mean for a file, and their remedies. */
const CAUSES: Record<string, readonly [cause: string, remedy: string]> = {
  EACCES: ['permission denied', PERMISSIONS],
  EPERM: ['permission denied', PERMISSIONS],
  EISDIR: ['it is a folder', 'Give the path of a file.'],
  ELOOP: ['its links lead in a circle', PERMISSIONS],
  ENAMETOOLONG: ['the name is too long', 'Give a shorter path.'],
  ERR_INVALID_ARG_VALUE: ['a path cannot hold a zero byte', 'Check the path.'],
  ...DESCRIPTOR_CAUSES,
};

/** Whether an error of the operating system says that there is no such file. */
export function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** Why the operating system does not open a file that is there, and the remedy. */
export function causeOf(error: unknown): readonly [cause: string, remedy: string] {
  const { code = '' } = error as NodeJS.ErrnoException;
  const known = Object.hasOwn(CAUSES, code) ? CAUSES[code] : undefined;
  return known ?? [printable(messageOf(error)), PERMISSIONS];
}

/** The remedy for a path that does not exist. Node gives the replacement character for bytes that are no UTF-8. */
export function missingRemedy(path: string, remedy = PERMISSIONS): string {
  return path.includes('\uFFFD') ? 'If its name is not in UTF-8, rename the file.' : remedy;
}

/** An error of the operating system about a file, as a LongVLMError. */
export function fileError(path: string, error: unknown): LongVLMError {
  const [cause, remedy] = causeOf(error);
  return new LongVLMError(
    'ERR_LONGVLM_FILE',
    isMissing(error)
      ? `${printable(path)} does not exist. ${missingRemedy(path)}`
      : `${printable(path)} cannot be used: ${cause}. ${remedy}`,
    { cause: error },
  );
}
