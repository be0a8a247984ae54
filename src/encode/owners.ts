// Which token each patch went into, of features.
import { isInt32Array } from 'node:util/types';
import type { Float32Tensor } from '../base/tensor.js';
import { wrongType, wrongValue } from '../base/validate.js';
import type { HeldTensorData } from '../files/safetensors.js';
import { type TokenGrid, tokensOf } from './runs.js';

/**
 * Checks the tokens of patches: `count` of each segment.
 * @throws TypeError or RangeError
 */
export function checkOwners(
  owners: unknown,
  grid: TokenGrid | undefined,
  { segments, count }: { readonly segments: number; readonly count: number },
): void {
  if (!isInt32Array(owners)) wrongType('owners', 'Int32Array', owners);
  if (grid === undefined) wrongType('grid', 'object, as owners are given,', grid);
  const due = segments * tokensOf(grid);
  if (owners.length !== due) wrongValue('owners.length', String(due), owners.length);
  const wrong = owners.findIndex((owner) => owner < -1 || owner >= count);
  if (wrong >= 0) wrongValue(`owners[${wrong}]`, `integer between -1 and ${count - 1}`, owners[wrong]);
}

const telling: ReadonlySet<string> = new Set(['merge', 'pick', 'pool', 'aim', 'fastvid', 'flashvid']);

/** Whether features of a reducer have owners of their own, where they were made on the host by this release. */
export function tellsOwners({ name }: { readonly name: string }): boolean {
  return telling.has(name);
}

/** Owners as a file holds them: in 16 bits where that is enough. `dims` are of the tokens, [segments, count]. */
export function ownersData(owners: Int32Array, dims: readonly number[]): HeldTensorData {
  const [segments, count] = dims as [number, number];
  const shape = [segments, owners.length / segments];
  return count <= 2 ** 15
    ? { type: 'I16', shape, data: Int16Array.from(owners) }
    : { type: 'I32', shape, data: owners };
}

/** What of features tells it. */
type Told = {
  readonly owners: Int32Array | undefined;
  readonly positions: Int32Array | undefined;
  readonly grid: TokenGrid | undefined;
  readonly sizes: Float32Tensor;
};

/**
 * For each patch of a segment the index of the token of the segment that it went into, or -1 if it was dropped.
 * @returns [patches of a segment]; undefined where it is not known
 */
export function ownersOf({ owners, grid, positions, sizes }: Told, segment: number): Int32Array | undefined {
  if (grid === undefined) return undefined;
  const patches = tokensOf(grid);
  const count = sizes.dims[1]!;
  if (owners !== undefined) return owners.slice(segment * patches, (segment + 1) * patches);
  if (count === patches) return Int32Array.from({ length: patches }, (_, patch) => patch);
  const own = sizes.data.subarray(segment * count, (segment + 1) * count);
  // Of merged tokens a position says where they stand, and not what went into them.
  if (positions === undefined || own.some((size) => size !== 1)) return undefined;
  const found = new Int32Array(patches).fill(-1);
  for (let token = 0; token < count; token++) found[positions[segment * count + token]!] = token;
  return found;
}
