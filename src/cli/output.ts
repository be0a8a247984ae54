import { access, constants, stat } from 'node:fs/promises';
import path from 'node:path';
import { LongVLMError, messageOf } from '../base/errors.js';
import { wrongValue } from '../base/validate.js';
import { checkReplaceable } from '../base/wholeFile.js';

/** What an output must be; `input` is a file that it must not replace. */
export type OutputRules = { readonly ending: string; readonly input: string };

/**
 * Checks, before any work, that the output can be written. Requiring the ending also prevents overwriting a video.
 * @throws RangeError for another ending; LongVLMError `ERR_LONGVLM_FILE` when the folder cannot be written into, or when there
 *   is something that must not be replaced
 */
export async function checkOutput(output: string, { ending, input }: OutputRules): Promise<void> {
  if (!output.endsWith(ending)) wrongValue('--output', `name that ends in ${ending}`, output);
  const folder = path.dirname(path.resolve(output));
  await access(folder, constants.W_OK).catch((error: unknown) => {
    throw new LongVLMError(
      'ERR_LONGVLM_FILE',
      `Cannot write into ${folder}: ${messageOf(error)}. Give another --output.`,
    );
  });
  await checkReplaceable(output);
  if (await isSameFile(output, input))
    throw new LongVLMError('ERR_LONGVLM_FILE', `${output} is the input itself. Choose another name for the output.`);
}

/** Whether two names are of one file, by links or not. */
async function isSameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([one, other].map((file) => stat(file, { bigint: true }).catch(() => undefined)));
  return a !== undefined && b !== undefined && a.dev === b.dev && a.ino === b.ino;
}
