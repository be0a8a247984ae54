// Whether weights can be converted to half precision. The answer is remembered with their fingerprint.
import { Pace } from '../base/pace.js';
import { readFloatTensor, type TensorLocation, weightsError } from '../files/tensorFile.js';
import type { GuardedFingerprint } from './fingerprint.js';
import { recall, remember } from './knownDigests.js';

// Half of a step above the largest number, 65504: from here on rounding gives infinity.
const tooLarge = 65520;
const piece = 1 << 16;

/**
 * Reads all tensors that are not in half precision, unless that was done before.
 * @param identity of a tower in half precision with these tensors
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` for a value that float16 would turn into infinity; `signal.reason`
 */
export async function checkHalfRange(
  tensors: readonly TensorLocation[],
  identity: GuardedFingerprint,
  signal?: AbortSignal,
): Promise<void> {
  const wide = tensors.filter(({ type }) => type !== 'F16');
  const bytes = wide.reduce((sum, { byteLength }) => sum + byteLength, 0);
  if (bytes === 0 || (await recall(identity.key, bytes))) return;
  const pace = new Pace();
  for (const tensor of wide) {
    const { data } = await readFloatTensor(tensor);
    for (let i = 0; i < data.length; i++) {
      if (Math.abs(data[i]!) >= tooLarge)
        throw weightsError(
          tensor.file,
          `tensor ${tensor.name} holds ${data[i]}, above 65504, the largest number of float16`,
          'Use precision float32.',
        );
      if (i % piece !== 0) continue;
      signal?.throwIfAborted();
      if (pace.isDue) await pace.rest();
    }
  }
  await identity.check();
  await remember(identity.key, identity.key, bytes);
}
