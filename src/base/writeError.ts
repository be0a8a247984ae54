import { dirname } from 'node:path';
import { DESCRIPTOR_CAUSES } from './descriptors.js';
import { LongVLMError, messageOf } from './errors.js';

const elsewhere = 'or choose another place';
const notAllowed = 'the system does not allow it there';

/** Why files cannot be written, by the operating system's codes, and what helps. */
const causes: Readonly<Record<string, readonly [cause: string, remedy: string]>> = {
  ENOENT: ['its folder does not exist', `Make it, ${elsewhere}.`],
  ENOTDIR: ['its folder is none', `Correct the path, ${elsewhere}.`],
  ENOSPC: ['there is no room left', `Free space there, ${elsewhere}.`],
  EDQUOT: ['there is no room left within the quota', `Free space there, ${elsewhere}.`],
  EFBIG: ['it is larger than files may be', `Raise the limit (ulimit -f), ${elsewhere}.`],
  EROFS: ['what is there can only be read', 'Choose another place.'],
  EACCES: [notAllowed, `Change the permissions, ${elsewhere}.`],
  EPERM: [notAllowed, `Change the permissions, ${elsewhere}.`],
  ENAMETOOLONG: ['its name is too long', 'Choose a shorter one.'],
  ...DESCRIPTOR_CAUSES,
};

/** An error of the operating system about a file that is written, as a LongVLMError. */
export function writeError(path: string, error: unknown): LongVLMError {
  const { code = '' } = error as NodeJS.ErrnoException;
  const [cause, remedy] = (Object.hasOwn(causes, code) ? causes[code] : undefined) ?? [
    messageOf(error),
    'Check the path and its permissions.',
  ];
  const folder = code === 'ENOENT' || code === 'ENOTDIR' ? ` (${dirname(path)})` : '';
  return new LongVLMError('ERR_LONGVLM_FILE', `${path} cannot be written: ${cause}${folder}. ${remedy}`, {
    cause: error,
  });
}
