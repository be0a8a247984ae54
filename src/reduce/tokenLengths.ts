import { inTurns } from '../base/pace.js';
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import type { DeviceBuffer } from '../kernels/index.js';
import { slotProducts } from '../kernels/slotProducts.js';

// Values that are read before others have their turn.
const valuesAtOnce = 1 << 18;

/** As {@link tokenLengths}, of tokens on a GPU; the lengths are on the host. */
export async function tokenLengthsOnDevice(tokens: DeviceBuffer, signal?: AbortSignal): Promise<Float32Tensor> {
  const [frames, patches, channels] = tokens.dims as [number, number, number];
  const sums = await slotProducts(tokens.reshape([frames * patches, channels]), undefined, signal);
  const lengths = Float32Array.from({ length: frames * patches }, (_, token) => Math.sqrt(sums[2 * token + 1]!));
  return float32Tensor(lengths, [frames, patches]);
}

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
