import { LongVLMError, messageOf } from './errors.js';

/** An error of the operating system about a file, as a LongVLMError. */
export function fileError(path: string, error: unknown): LongVLMError {
  const { code } = error as NodeJS.ErrnoException;
  const cause = code === 'ENOENT' ? 'does not exist' : `cannot be used (${messageOf(error)})`;
  return new LongVLMError('ERR_LONGVLM_FILE', `${path} ${cause}. Check the path and its permissions.`, {
    cause: error,
  });
}
