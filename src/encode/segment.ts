// Encodes one segment: runs its frames through the tower, selects its class tokens and reduces its patches.
import { types } from 'node:util';
import { LongVLMError } from '../base/errors.js';
import { checkAllFinite } from '../base/largeTensor.js';
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import { checkFloat32Tensor, checkInteger, checkObject, wrongType, wrongValue } from '../base/validate.js';
import type { Projector } from '../projector/projector.js';
import type { ReducedTokens, ReducedVideoTokens, Reducer, SegmentShape, VideoReducer } from '../reduce/reducer.js';
import type { FrameShape } from '../tower/source.js';
import type { Tower, TowerOutput } from '../tower/tower.js';
import type { TokenGrid } from './runs.js';

/** A segment of K frames, its patches merged or otherwise reduced. */
export type ReducedSegment = {
  /** [M, C]. */
  readonly local: Float32Tensor;
  /** [M], the number of patches averaged into each token; 1 for a token that was selected unchanged. */
  readonly sizes: Float32Tensor;
  /** [M], ascending: indices of the tokens, where they were picked and not averaged. */
  readonly positions?: Int32Array;
  /** [K·N], for each patch the index of the token that it went into, or -1. */
  readonly owners?: Int32Array;
  /** What the segment was reduced from. */
  readonly grid: TokenGrid;
  /** [K, summaries, C], oldest layer first; undefined where the tower has none. */
  readonly summaries: Float32Tensor | undefined;
};

/** What makes tokens of frames. */
export type TokenEncoder = {
  readonly tower: Tower;
  /** Of the frames. */
  readonly shape: FrameShape;
  /** Needed by a reducer of stage `projector`, unless the tower's tokens are projected already. */
  readonly projector: Projector | undefined;
};

/** The models and settings that encode a segment. */
export type SegmentEncoder = TokenEncoder & { readonly reducer: Reducer };

type EncodeOptions = {
  readonly move?: boolean;
  /** Whether attention is asked for. */
  readonly attention?: boolean;
  readonly signal?: AbortSignal | undefined;
};

/**
 * @param frames RGB [K, height, width, 3]
 * @param options `move`: transfers the frames' buffer (detaching it) instead of copying it
 */
export async function encodeSegment(
  encoder: SegmentEncoder,
  frames: Uint8Array,
  options: EncodeOptions,
): Promise<ReducedSegment> {
  const { tower, reducer } = encoder;
  const { tokens, segment, patches, summaries } = await encodeTokens(encoder, frames, options);
  const reduced = await checkReduced(reducer, await reducer.reduce(tokens, segment, options.signal), segment);
  // A reducer may give views of what it was lent.
  const isShared = [reduced.tokens, reduced.sizes].some(({ data }) => data.buffer === patches.data.buffer);
  if (tokens.data === patches.data && !isShared) tower.reuse(patches);
  const { positions, owners } = reduced;
  const [rows, columns] = segment.grid;
  const grid = { steps: segment.frames, rows, columns };
  return {
    ...{ local: reduced.tokens, sizes: reduced.sizes, grid, summaries },
    ...(positions && { positions }),
    ...(owners && { owners }),
  };
}

/**
 * All tokens of frames [K, height, width, 3], before they are reduced.
 * @returns `patches`: the tower's, whose memory may be that of `tokens`
 */
export async function encodeTokens(
  { tower, shape, projector }: TokenEncoder,
  frames: Uint8Array,
  options: EncodeOptions,
): Promise<{ tokens: Float32Tensor; segment: SegmentShape } & TowerOutput> {
  const { patches, ...rest } = await tower.encodeFrames(frames, { ...options, shape });
  const [count, perFrame, channels] = patches.dims as [number, number, number];
  const flat = float32Tensor(patches.data, [count * perFrame, channels]);
  const given = projector ? await projected(projector, flat, options.signal) : { tokens: flat, channels };
  const segment = { frames: count, patches: perFrame, grid: shape.grid, channels: given.channels };
  return { tokens: given.tokens, segment, patches, ...rest };
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
  const { positions, owners } = given;
  if (tokens.data.length === count * segment.channels && sizes.data.length === count)
    return {
      tokens,
      sizes,
      ...(positions !== undefined && { positions: checkPositions(name, positions, count, segment) }),
      ...(owners !== undefined && { owners: checkOwners(name, owners, count, segment) }),
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

function checkOwners(name: string, value: unknown, count: number, { frames, patches }: SegmentShape): Int32Array {
  const argument = `the owners that ${name}`;
  if (!types.isInt32Array(value)) wrongType(argument, 'Int32Array', value);
  if (value.length !== frames * patches || value.some((owner) => owner < -1 || owner >= count))
    wrongValue(argument, `${frames * patches} integers from -1 to ${count - 1}`, value);
  return value;
}

/** As {@link checkReduced}, for a whole video: of at most as many tokens as were said, each in its place. */
export async function checkReducedVideo(
  reducer: VideoReducer,
  given: ReducedVideoTokens,
  video: SegmentShape,
): Promise<ReducedVideoTokens> {
  const name = `the reducer ${reducer.id} gave`;
  checkObject(`what ${name}`, given);
  const sizes = checkFloat32Tensor(`the sizes that ${name}`, given.sizes, ['tokens']);
  const count = checkInteger(`the number of sizes that ${name}`, sizes.dims[0], 1, reducer.count(video));
  const tokens = checkFloat32Tensor(`the tokens that ${name}`, given.tokens, [count, video.channels]);
  await checkAllFinite(`What ${name}`, tokens, 'Correct the reducer.');
  const positions = checkPositions(name, given.positions, count, video);
  const { owners } = given;
  return {
    ...{ tokens, sizes, positions },
    ...(owners !== undefined && { owners: checkOwners(name, owners, count, video) }),
    ...(given.report && { report: given.report }),
  };
}
