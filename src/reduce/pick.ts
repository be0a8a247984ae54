import { inTurns } from '../base/pace.js';
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import { gatherRows } from '../kernels/deviceReduction.js';
import type { DeviceBuffer, MergedDeviceTokens, MergedTokens } from '../kernels/index.js';
import { slotProducts } from '../kernels/slotProducts.js';
import { mergingKind } from './merge.js';
import type { ReducedTokens, ReducerKind } from './reducer.js';
import { rowsOf } from './rows.js';

/**
 * For models that tell each token its place, which a mean has not: groups tokens as `merge` does, and keeps of each group the
 * one that is most similar to the group's mean (by the cosine; the first of equal ones). What is kept stays in the input's order.
 */
export const pick: ReducerKind = mergingKind('pick', medoids);

// Values that are read before others have their turn.
const valuesAtOnce = 1 << 18;

async function medoids(
  { tokens: means, sizes, assignment }: MergedTokens,
  tokens: Float32Tensor,
  signal: AbortSignal | undefined,
): Promise<ReducedTokens> {
  const [count, channels] = tokens.dims as [number, number];
  const keep = sizes.data.length;
  const scores = new Float64Array(count);
  await inTurns(count, Math.max(1, Math.floor(valuesAtOnce / channels)), (from, to) => {
    signal?.throwIfAborted();
    for (let token = from; token < to; token++) {
      const at = token * channels;
      const mean = assignment[token]! * channels;
      let [product, square] = [0, 0];
      for (let channel = 0; channel < channels; channel++) {
        const value = tokens.data[at + channel]!;
        product += value * (means as Float32Tensor).data[mean + channel]!;
        square += value * value;
      }
      scores[token] = likeness(product, square);
    }
  });
  const { positions, groups } = bestOfGroups(assignment, keep, scores);
  const placeOf = new Int32Array(keep);
  for (const [index, group] of groups.entries()) placeOf[group] = index;
  return {
    tokens: rowsOf(tokens, positions),
    sizes: float32Tensor(sizesOf(sizes.data, groups), [keep]),
    positions,
    owners: assignment.map((group) => placeOf[group]!),
  };
}

/** Segments whose patches were merged on a GPU. */
export type MergedSegments = {
  /** [segments, tokens, channels], before. */
  readonly patches: DeviceBuffer;
  /** [segments, M, channels], [segments, M] and [segments, tokens]. */
  readonly merged: MergedDeviceTokens;
};

/**
 * Picks on the GPU what `pick` picks on the host. The assignment, sizes and two sums for each patch come down.
 * @param out [segments · M, channels], where the tokens go
 * @returns sizes and positions [segments · M] of what was picked
 */
export async function pickOnDevice(
  { patches, merged }: MergedSegments,
  out: DeviceBuffer,
  signal: AbortSignal | undefined,
): Promise<{ sizes: Float32Array; positions: Int32Array }> {
  const [segments, count, channels] = patches.dims as [number, number, number];
  const keep = merged.sizes.dims[1]!;
  const own = signal && { signal };
  const assignment = (await merged.assignment.download(own)).data as Int32Array;
  const given = (await merged.sizes.download(own)).data as Float32Array;
  const sizes = new Float32Array(segments * keep);
  const positions = new Int32Array(segments * keep);
  for (let segment = 0; segment < segments; segment++) {
    const sums = await segmentSums({ patches, merged }, segment, signal);
    const scores = Float64Array.from({ length: count }, (_, i) => likeness(sums[2 * i]!, sums[2 * i + 1]!));
    const best = bestOfGroups(assignment.subarray(segment * count, (segment + 1) * count), keep, scores);
    positions.set(best.positions, segment * keep);
    sizes.set(sizesOf(given.subarray(segment * keep, (segment + 1) * keep), best.groups), segment * keep);
  }
  const rows = positions.map((position, index) => Math.floor(index / keep) * count + position);
  await gatherRows(patches.reshape([segments * count, channels]), rows, out, signal);
  return { sizes, positions };
}

/** Of each patch of a segment its product with its group's mean, and its square. */
async function segmentSums(
  { patches, merged }: MergedSegments,
  segment: number,
  signal: AbortSignal | undefined,
): Promise<Float64Array> {
  const views = [patches, merged.tokens, merged.assignment].map((buffer) => buffer.rows(segment, segment + 1));
  const [tokens, rows, assignment] = views.map((view) => view.reshape(view.dims.slice(1))) as [
    DeviceBuffer,
    DeviceBuffer,
    DeviceBuffer,
  ];
  try {
    return await slotProducts(tokens, { rows, assignment }, signal);
  } finally {
    for (const view of views) view.dispose();
  }
}

/** The cosine of a token and a mean, but for the mean's length, which all tokens of a group share; -1 of a token of zeros. */
const likeness = (product: number, square: number) => (square > 0 ? product / Math.sqrt(square) : -1);

/** The token of each group with the highest score, of equal ones the first: their positions, ascending, and the groups of these. */
function bestOfGroups(assignment: Int32Array, count: number, scores: Float64Array) {
  const best = new Float64Array(count).fill(Number.NEGATIVE_INFINITY);
  const chosen = new Int32Array(count);
  for (const [token, group] of assignment.entries()) {
    if (scores[token]! <= best[group]!) continue;
    best[group] = scores[token]!;
    chosen[group] = token;
  }
  const groups = Array.from(chosen.keys()).sort((a, b) => chosen[a]! - chosen[b]!);
  return { positions: Int32Array.from(groups, (group) => chosen[group]!), groups };
}

const sizesOf = (sizes: Float32Array, groups: readonly number[]) => Float32Array.from(groups, (group) => sizes[group]!);
