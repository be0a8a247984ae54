import { Pace } from '../base/pace.js';
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import type { MergedTokens } from '../kernels/index.js';
import { mergingKind } from './merge.js';
import type { ReducedTokens, ReducerKind } from './reducer.js';

/**
 * For models that tell each token its place, which a mean has not: groups tokens as `merge` does, and keeps of each group the
 * one that is most similar to the group's mean (by the cosine; the first of equal ones). What is kept stays in the input's order.
 */
export const pick: ReducerKind = mergingKind('pick', medoids);

async function medoids(
  { tokens: means, sizes, assignment }: MergedTokens,
  { data, dims }: Float32Tensor,
  signal: AbortSignal | undefined,
): Promise<ReducedTokens> {
  const [count, channels] = dims as [number, number];
  const keep = sizes.data.length;
  const best = new Float64Array(keep).fill(Number.NEGATIVE_INFINITY);
  const chosen = new Int32Array(keep);
  const pace = new Pace();
  for (let token = 0; token < count; token++) {
    if (pace.isDue) {
      await pace.rest();
      signal?.throwIfAborted();
    }
    const group = assignment[token]!;
    const score = likeness(data, token * channels, (means as Float32Tensor).data, group * channels, channels);
    if (score <= best[group]!) continue;
    best[group] = score;
    chosen[group] = token;
  }
  const order = Array.from(chosen.keys()).sort((a, b) => chosen[a]! - chosen[b]!);
  const placeOf = new Int32Array(keep);
  for (const [index, group] of order.entries()) placeOf[group] = index;
  const picked = new Float32Array(keep * channels);
  for (const [index, group] of order.entries()) {
    const from = chosen[group]! * channels;
    picked.set(data.subarray(from, from + channels), index * channels);
  }
  return {
    tokens: float32Tensor(picked, [keep, channels]),
    sizes: float32Tensor(
      Float32Array.from(order, (group) => sizes.data[group]!),
      [keep],
    ),
    positions: Int32Array.from(order, (group) => chosen[group]!),
    owners: assignment.map((group) => placeOf[group]!),
  };
}

/** The cosine of a token and a mean, but for the mean's length, which all tokens of a group share; -1 of a token of zeros. */
function likeness(tokens: Float32Array, at: number, means: Float32Array, from: number, channels: number): number {
  let [product, square] = [0, 0];
  for (let channel = 0; channel < channels; channel++) {
    const value = tokens[at + channel]!;
    product += value * means[from + channel]!;
    square += value * value;
  }
  return square > 0 ? product / Math.sqrt(square) : -1;
}
