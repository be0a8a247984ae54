// Encodes one segment: runs its frames through the tower, selects its class tokens and reduces its patches.
import { types } from 'node:util';
import { LongVLMError } from '../base/errors.js';
import { checkAllFinite } from '../base/largeTensor.js';
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import { checkFloat32Tensor, checkObject, wrongType, wrongValue } from '../base/validate.js';
import type { Projector } from '../projector/projector.js';
import type { ReducedTokens, Reducer, SegmentShape } from '../reduce/reducer.js';
import type { FrameShape } from '../tower/source.js';
import type { Tower } from '../tower/tower.js';
import type { TokenGrid } from './runs.js';

/** A segment of K frames, its patches merged or otherwise reduced. */
export type ReducedSegment = {
  /** [M, C]. */
  readonly local: Float32Tensor;
  /** [M], the number of patches averaged into each token; 1 for a token that was selected unchanged. */
  readonly sizes: Float32Tensor;
  /** [M], ascending: indices of the tokens, where they were picked and not averaged. */
  readonly positions?: Int32Array;
  /** What the segment was reduced from. */
  readonly grid: TokenGrid;
  /** [K, summaries, C], oldest layer first; undefined where the tower has none. */
  readonly summaries: Float32Tensor | undefined;
};

/** The models and settings that encode a segment. */
export type SegmentEncoder = {
  readonly tower: Tower;
  /** Of the frames. */
  readonly shape: FrameShape;
  readonly reducer: Reducer;
  /** Needed by a reducer of stage `projector`, unless the tower's tokens are projected already. */
  readonly projector: Projector | undefined;
};

/**
 * @param frames RGB [K, height, width, 3]
 * @param options `move`: transfers the frames' buffer (detaching it) instead of copying it
 */
export async function encodeSegment(
  { tower, shape, reducer, projector }: SegmentEncoder,
  frames: Uint8Array,
  options: { readonly move?: boolean; readonly signal?: AbortSignal | undefined },
): Promise<ReducedSegment> {
  const { patches, summaries } = await tower.encodeFrames(frames, { ...options, shape });
  const [count, perFrame, channels] = patches.dims as [number, number, number];
  const tokens = float32Tensor(patches.data, [count * perFrame, channels]);
  const given =
    reducer.stage === 'projector' && projector
      ? await projected(projector, tokens, options.signal)
      : { tokens, channels };
  const segment: SegmentShape = { frames: count, patches: perFrame, grid: shape.grid, channels: given.channels };
  const reduced = await checkReduced(reducer, await reducer.reduce(given.tokens, segment, options.signal), segment);
  // A reducer may give views of what it was lent.
  const isShared = [reduced.tokens, reduced.sizes].some(({ data }) => data.buffer === patches.data.buffer);
  if (given.tokens === tokens && !isShared) tower.reuse(patches);
  const { positions } = reduced;
  const [rows, columns] = segment.grid;
  const grid = { steps: count, rows, columns };
  return { local: reduced.tokens, sizes: reduced.sizes, ...(positions && { positions }), grid, summaries };
}

async function projected(projector: Projector, tokens: Float32Tensor, signal: AbortSignal | undefined) {
  const embeddings = await projector.project(tokens, { transfer: true, ...(signal && { signal }) });
  return { tokens: embeddings, channels: projector.outChannels };
}

/**
 * Copies the summaries of the last layers.
 * @param summaries [K, L, C]
 * @param target filled with [K, layers, C]
 */
export function copyLastLayers({ data, dims }: Float32Tensor, layers: number, target: Float32Array): void {
  const [frames, all, channels] = dims as [number, number, number];
  const length = layers * channels;
  for (let frame = 0; frame < frames; frame++) {
    const end = (frame + 1) * all * channels;
    target.set(data.subarray(end - length, end), frame * length);
  }
}

/** Checks the output of a reducer, which may be third-party code: a wrong size would overwrite other segments' tokens. */
async function checkReduced(reducer: Reducer, given: ReducedTokens, segment: SegmentShape): Promise<ReducedTokens> {
  const name = `the reducer ${reducer.id} gave`;
  checkObject(`what ${name}`, given);
  const tokens = checkFloat32Tensor(`the tokens that ${name}`, given.tokens, ['tokens', 'channels']);
  const sizes = checkFloat32Tensor(`the sizes that ${name}`, given.sizes, ['tokens']);
  const count = reducer.count(segment);
  await checkAllFinite(`What ${name}`, tokens, 'Correct the reducer.');
  const { positions } = given;
  if (tokens.data.length === count * segment.channels && sizes.data.length === count)
    return {
      tokens,
      sizes,
      ...(positions !== undefined && { positions: checkPositions(name, positions, count, segment) }),
    };
  throw new LongVLMError(
    'ERR_LONGVLM_UNSUPPORTED',
    `The reducer ${reducer.id} gave ${tokens.data.length} values and ${sizes.data.length} sizes where ${count} tokens of ${segment.channels} channels are due. Correct the reducer.`,
  );
}

function checkPositions(name: string, value: unknown, count: number, { frames, patches }: SegmentShape): Int32Array {
  const argument = `the positions that ${name}`;
  if (!types.isInt32Array(value)) wrongType(argument, 'Int32Array', value);
  const positions = value.slice();
  const [first, last] = [positions[0] ?? 0, positions.at(-1) ?? 0];
  const ascend = positions.every((position, index) => index === 0 || position > positions[index - 1]!);
  if (positions.length !== count || !ascend || first < 0 || last >= frames * patches)
    wrongValue(argument, `${count} ascending integers from 0 to ${frames * patches - 1}`, value);
  return positions;
}
