import { access, constants } from 'node:fs/promises';
import path from 'node:path';
import { LongVLMError, messageOf } from '../base/errors.js';
import { wrongValue } from '../base/validate.js';

/**
 * Checks, before any work, that the output can be written. Requiring the ending also prevents overwriting a video.
 * @throws RangeError for another ending; LongVLMError `ERR_LONGVLM_FILE` when the folder cannot be written into
 */
export async function checkOutput(output: string, ending: string): Promise<void> {
  if (!output.endsWith(ending)) wrongValue('--output', `name that ends in ${ending}`, output);
  const folder = path.dirname(path.resolve(output));
  await access(folder, constants.W_OK).catch((error: unknown) => {
    throw new LongVLMError(
      'ERR_LONGVLM_FILE',
      `Cannot write into ${folder}: ${messageOf(error)}. Give another --output.`,
    );
  });
}
