// llama.cpp maps the file of a model into memory: where the file has become shorter, reading the rest ends the process (SIGBUS).
import { stat } from 'node:fs/promises';
import { LongVLMError } from '../base/errors.js';
import { fileError } from '../base/fileError.js';

/**
 * Remembers a model's file.
 * @returns throws LongVLMError `ERR_LONGVLM_WEIGHTS` once the file has become shorter. A file that was deleted or exchanged is
 *   still there for llama.cpp.
 */
export async function rememberFile(path: string): Promise<() => Promise<void>> {
  const before = await stat(path).catch((error: unknown) => Promise.reject(fileError(path, error)));
  return async () => {
    const now = await stat(path).catch(() => undefined);
    if (now === undefined || now.ino !== before.ino || now.dev !== before.dev || now.size >= before.size) return;
    throw new LongVLMError(
      'ERR_LONGVLM_WEIGHTS',
      `${path} has been cut from ${before.size} to ${now.size} bytes since it was loaded. Put the file back and load the model again; exchange a file by renaming another over it.`,
    );
  };
}
