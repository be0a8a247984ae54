import { type Float32Tensor, float32Tensor, type TensorInput } from '../base/tensor.js';
import { checkObject, checkOneOf, wrongValue } from '../base/validate.js';
import { DeviceBuffer } from './deviceBuffer.js';
import { checkDeviceVideo } from './deviceReduction.js';
import { run } from './place.js';
import { checkVideoTokens, type ReducerCallOptions, runOnHost } from './reduction.js';

export type TemporalSimilarityOptions = ReducerCallOptions & {
  /** `'place'`: with the patch of the same place. `'best'`: with the most similar patch. Defaults to `'place'`. */
  readonly match?: 'place' | 'best';
};

/** How similar each token is to the frame before. */
export type TemporalSimilarities = {
  /** `[frames - 1, patches]`, cosines, from the second frame on; 0 for a zero token. */
  readonly similarities: Float32Tensor;
  /** `(frames - 1) · patches` patches of the frame before that they are with; of equal ones the lowest. */
  readonly matches: Int32Array;
};

/** The same on a GPU; each buffer is yours to dispose. */
export type DeviceTemporalSimilarities = {
  /** `[frames - 1, patches]` float32. */
  readonly similarities: DeviceBuffer;
  /** `[frames - 1, patches]` int32; none for `'place'`, where they are the patches themselves. */
  readonly matches: DeviceBuffer | undefined;
};

/**
 * The cosine of each token with one of the frame before: of the same place, as EVS compares them, or the most similar, as
 * FlashVID does, without a matrix of all pairs.
 *
 * @param tokens `[frames, patches, channels]`, float32 or float16
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; the message says where
 */
export async function temporalSimilarity(
  tokens: TensorInput,
  options?: TemporalSimilarityOptions,
): Promise<TemporalSimilarities>;
/** The same on the GPU that holds the tokens, at least 2 frames, bit by bit; the results stay on the GPU. */
export async function temporalSimilarity(
  tokens: DeviceBuffer,
  options?: TemporalSimilarityOptions,
): Promise<DeviceTemporalSimilarities>;
export async function temporalSimilarity(
  tokens: TensorInput | DeviceBuffer,
  options: TemporalSimilarityOptions = {},
): Promise<TemporalSimilarities | DeviceTemporalSimilarities> {
  const { match = 'place', signal } = checkObject('options', options);
  const best = checkOneOf('match', match, ['place', 'best']) === 'best';
  if (tokens instanceof DeviceBuffer) return await compareOnDevice(tokens, best, signal);
  const { tensor, dims, frames, patches } = checkVideoTokens(tokens);
  const outCosines = new Float32Array((frames - 1) * patches);
  const outMatches = new Int32Array(outCosines.length);
  const args = { tokens: tensor.data, dims, best, outCosines, outMatches: best ? outMatches : undefined };
  await runOnHost(signal, args, (native, read) => native.temporalSimilarity(read));
  if (!best) for (let i = 0; i < outMatches.length; i++) outMatches[i] = i % patches;
  return { similarities: float32Tensor(outCosines, [frames - 1, patches]), matches: outMatches };
}

async function compareOnDevice(
  tokens: DeviceBuffer,
  best: boolean,
  signal: AbortSignal | null | undefined,
): Promise<DeviceTemporalSimilarities> {
  const { dims, frames, patches } = checkDeviceVideo(tokens);
  if (frames < 2) wrongValue('tokens.dims[0]', 'at least 2 frames on a GPU', frames);
  return await run(
    tokens,
    signal,
    (place) => {
      const pairs = [frames - 1, patches];
      const similarities = place.allocate('float32', pairs) as DeviceBuffer;
      const matches = best ? (place.allocate('int32', pairs) as DeviceBuffer) : undefined;
      const out = { outCosines: similarities.native(), outMatches: matches?.native() };
      return { args: { tokens: tokens.native(), dims, best, ...out }, result: { similarities, matches } };
    },
    (native, args) => native.temporalSimilarity(args),
  );
}
