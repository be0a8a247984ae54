// Sums over a token's channels on a GPU, in float64, for what is then decided on the host.
import { checkSignal } from '../base/validate.js';
import { runNative } from '../binding.js';
import { DeviceBuffer } from './deviceBuffer.js';

/** Rows `[slots, channels]` of the tokens' type, and which of them is each token's: `[tokens]` int32. */
export type Slots = { readonly rows: DeviceBuffer; readonly assignment: DeviceBuffer };

/**
 * Of each token its product with the row of its slot, 0 without slots, and its length, squared; over ascending channels.
 * @param tokens `[tokens, channels]`
 * @returns [tokens, 2]
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity
 */
export async function slotProducts(
  tokens: DeviceBuffer,
  slots: Slots | undefined,
  signal: AbortSignal | undefined,
): Promise<Float64Array> {
  const [count, channels] = tokens.dims as [number, number];
  const out = DeviceBuffer.allocate('uint8', [count, 2 * Float64Array.BYTES_PER_ELEMENT], {
    device: `cuda:${tokens.deviceIndex}`,
  });
  try {
    const args = {
      tokens: tokens.native(),
      dims: [1, count, channels],
      count: slots?.rows.dims[0] ?? 0,
      assignment: slots?.assignment.native(),
      slots: slots?.rows.native(),
      out: out.native(),
    } as const;
    await runNative((native) => native.slotProducts(args), checkSignal(signal));
    const { data } = await out.download(signal && { signal });
    return new Float64Array(data.buffer as ArrayBuffer);
  } finally {
    out.dispose();
  }
}
