// A plain implementation of token merging in TypeScript: whole tokens, level by level, in typed arrays.
import type { Tensor } from 'longvlm';
import { toFloat32 } from './packageFiles.js';

export type PlainMerge = {
  readonly tokens: Float32Array;
  readonly sizes: Float32Array;
  readonly assignment: Int32Array;
};

/** One segment, `[tokens, channels]`. */
export function plainMergeTokens(input: Tensor, heads: number, schedule: readonly number[]): PlainMerge {
  const [count, channels] = input.dims as readonly [number, number];
  let tokens = toFloat32(input).data;
  let sizes = new Float32Array(count).fill(1);
  const assignment = Int32Array.from({ length: count }, (_, token) => token);
  for (const wanted of schedule) {
    const r = Math.min(wanted, sizes.length >> 1);
    if (r === 0) continue;
    const metric = normalizedMetric(tokens, sizes.length, channels, heads);
    const { partner, order } = match(metric, sizes.length, channels / heads);
    const slots = slotsAfter(partner, order, r, sizes.length);
    const kept = sizes.length - r;
    const mergedSizes = new Float32Array(kept);
    const merged = new Float32Array(kept * channels);
    for (let token = 0; token < sizes.length; token++) {
      const slot = slots[token]!;
      const size = sizes[token]!;
      mergedSizes[slot]! += size;
      const to = merged.subarray(slot * channels, (slot + 1) * channels);
      const from = tokens.subarray(token * channels, (token + 1) * channels);
      for (let c = 0; c < channels; c++) to[c]! += from[c]! * size;
    }
    for (let slot = 0; slot < kept; slot++) {
      const size = mergedSizes[slot]!;
      const token = merged.subarray(slot * channels, (slot + 1) * channels);
      for (let c = 0; c < channels; c++) token[c]! /= size;
    }
    for (let token = 0; token < count; token++) assignment[token] = slots[assignment[token]!]!;
    tokens = merged;
    sizes = mergedSizes;
  }
  return { tokens, sizes, assignment };
}

/** The mean over the heads, scaled to length 1. */
function normalizedMetric(tokens: Float32Array, count: number, channels: number, heads: number): Float32Array {
  const dims = channels / heads;
  const metric = new Float32Array(count * dims);
  for (let token = 0; token < count; token++) {
    const row = metric.subarray(token * dims, (token + 1) * dims);
    for (let head = 0; head < heads; head++) {
      const first = token * channels + head * dims;
      for (let k = 0; k < dims; k++) row[k]! += tokens[first + k]!;
    }
    let square = 0;
    for (let k = 0; k < dims; k++) square += row[k]! * row[k]!;
    const scale = square > 0 ? 1 / Math.sqrt(square) : 0;
    for (let k = 0; k < dims; k++) row[k]! *= scale;
  }
  return metric;
}

function dotProduct(values: Float32Array, first: number, second: number, length: number): number {
  let sum = 0;
  for (let k = 0; k < length; k++) sum += values[first + k]! * values[second + k]!;
  return sum;
}

/** For each even row its most similar odd row, and the even rows in order of similarity, most similar first. */
function match(metric: Float32Array, count: number, dims: number): { partner: Int32Array; order: Int32Array } {
  const numA = (count + 1) >> 1;
  const numB = count >> 1;
  const partner = new Int32Array(numA);
  const similarity = new Float32Array(numA);
  for (let a = 0; a < numA; a++) {
    const rowA = 2 * a * dims;
    let best = 0;
    let highest = Number.NEGATIVE_INFINITY;
    for (let b = 0; b < numB; b++) {
      const rowB = (2 * b + 1) * dims;
      const dot = dotProduct(metric, rowA, rowB, dims);
      if (dot > highest) {
        highest = dot;
        best = b;
      }
    }
    partner[a] = best;
    similarity[a] = highest;
  }
  const order = Int32Array.from({ length: numA }, (_, a) => a).sort((x, y) => similarity[y]! - similarity[x]! || x - y);
  return { partner, order };
}

/** The position of each token after the level: first the remaining even tokens, then all odd ones. */
function slotsAfter(partner: Int32Array, order: Int32Array, r: number, count: number): Int32Array {
  const stay = order.length - r;
  const slots = new Int32Array(count);
  for (const [rank, a] of order.entries()) slots[2 * a] = rank < r ? stay + partner[a]! : rank - r;
  for (let b = 0; 2 * b + 1 < count; b++) slots[2 * b + 1] = stay + b;
  return slots;
}
