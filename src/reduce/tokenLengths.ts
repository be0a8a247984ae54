import { inTurns } from '../base/pace.js';
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';

// Values that are read before others have their turn.
const valuesAtOnce = 1 << 18;

/**
 * Lengths of tokens, which stand in for the attention that they get where a tower does not say that.
 * @param tokens [frames, patches, channels]
 * @returns [frames, patches]; not finite where a token is not, or its squares are beyond float64
 */
export async function tokenLengths({ data, dims }: Float32Tensor, signal?: AbortSignal): Promise<Float32Tensor> {
  const [frames, patches, channels] = dims as [number, number, number];
  const lengths = new Float32Array(frames * patches);
  await inTurns(lengths.length, Math.max(1, Math.floor(valuesAtOnce / channels)), (from, to) => {
    signal?.throwIfAborted();
    for (let token = from; token < to; token++) {
      let square = 0;
      for (let at = token * channels; at < (token + 1) * channels; at++) square += data[at]! * data[at]!;
      lengths[token] = Math.sqrt(square);
    }
  });
  return float32Tensor(lengths, [frames, patches]);
}
