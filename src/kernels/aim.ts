import type { Tensor } from '../base/tensor.js';
import { checkInteger, checkObject } from '../base/validate.js';
import { bipartiteSoftMatching } from './bipartiteSoftMatching.js';
import type { Matching } from './matching.js';
import {
  allocateLike,
  checkVideoTokens,
  type ReducedVideo,
  type ReducerCallOptions,
  reducedVideo,
  runOnHost,
} from './reduction.js';

/** Options of {@link aim}. */
export type AimOptions = ReducerCallOptions & {
  /** How often the tokens of a frame are halved. Defaults to `2`: a quarter is left. */
  readonly steps?: number;
};

/**
 * AIM's merging before the language model: bipartite soft matching inside each frame, half of the tokens at each step, with plain
 * means. A merged token stands where its token of B does.
 *
 * It is {@link bipartiteSoftMatching} and {@link Matching.merge} with `floor(tokens / 2)`, step after step.
 *
 * @param tokens `[frames, patches, channels]`, float32 or float16. Do not write to them until the promise settles
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; the message says where
 */
export async function aim(tokens: Tensor, options: AimOptions = {}): Promise<ReducedVideo> {
  const { steps = 2, signal } = checkObject('options', options);
  const video = checkVideoTokens(tokens);
  const { frames, patches, channels } = video;
  const own = signal && { signal };
  let left = video.tensor;
  // Of each frame: where the tokens that are left stand, and how many they stand for.
  let places = Array.from({ length: frames }, () => Array.from({ length: patches }, (_, i) => i));
  let sizes = places.map((frame) => frame.map(() => 1));
  for (let step = 0; step < checkInteger('steps', steps, 0, 32); step++) {
    const matching = await bipartiteSoftMatching(left, Math.floor(left.dims[1]! / 2), own);
    if (matching.r === 0) break;
    left = await matching.merge(left, own);
    [places, sizes] = follow(matching, places, sizes);
  }
  // The tokens that are left, in the order of the places where they stand.
  const kept = left.dims[1]!;
  const order = places.map((frame) => frame.map((_, slot) => slot).sort((a, b) => frame[a]! - frame[b]!));
  const count = frames * kept;
  const indices = Int32Array.from(
    order.flatMap((slots, frame) => slots.map((slot) => frame * patches + places[frame]![slot]!)),
  );
  const rows = Int32Array.from(order.flatMap((slots, frame) => slots.map((slot) => frame * kept + slot)));
  const outTokens = allocateLike(left, count * channels);
  const dims = [frames, kept, channels] as const;
  await runOnHost(signal, { tokens: left.data, dims, count, indices: rows, outTokens }, (native, args) =>
    native.gatherTokens(args),
  );
  const counts = Float32Array.from(order.flatMap((slots, frame) => slots.map((slot) => sizes[frame]![slot]!)));
  return reducedVideo('aim', video, { tokens: outTokens, indices, sizes: counts, dropped: 0 }, count);
}

/** Places and sizes after a step: those of B are the last of a matching's tokens. */
function follow(matching: Matching, places: number[][], sizes: number[][]): [number[][], number[][]] {
  const { inputTokens, tokens, assignment } = matching;
  const nextPlaces = places.map(() => new Array<number>(tokens).fill(0));
  const nextSizes = places.map(() => new Array<number>(tokens).fill(0));
  for (const [frame, before] of places.entries()) {
    for (let token = 0; token < inputTokens; token++) {
      const slot = assignment[frame * inputTokens + token]!;
      nextSizes[frame]![slot]! += sizes[frame]![token]!;
      // What shares a slot are one token of B and tokens of A; alone, a token keeps its place.
      if (token % 2 === 1 || slot < tokens - Math.floor(inputTokens / 2)) nextPlaces[frame]![slot] = before[token]!;
    }
  }
  return [nextPlaces, nextSizes];
}
