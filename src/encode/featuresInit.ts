// What features are made of, and what it must be to be used.
import { isFloat32Array, isInt32Array } from 'node:util/types';
import * as v from 'valibot';
import { attentionSources } from '../base/attention.js';
import { readOptions } from '../base/options.js';
import { resizes } from '../base/resize.js';
import { finiteNumber, integer, jsonObject, nonEmptyString, parse, positiveNumber } from '../base/schema.js';
import type { Float32Tensor } from '../base/tensor.js';
import { checkFloat32Tensor, checkObject, checkString, wrongType, wrongValue } from '../base/validate.js';
import type { ReductionReport } from '../kernels/index.js';
import { checkOwners } from './owners.js';
import { checkPositions, type TokenGrid, tokensOf } from './runs.js';
import type { Sampling } from './sampling.js';

/** Properties of the encoded video. */
export type VideoSource = {
  /** Name of the file without its folder, or of the URL; `video` or `pictures` for inputs without a name. */
  readonly name: string;
  readonly durationSeconds: number;
  readonly frameCount: number;
  /** Pixels, as displayed. */
  readonly width: number;
  readonly height: number;
  /** Problems of a file that could still be read, in sentences. */
  readonly warnings: readonly string[];
};

/** Arguments of the {@link VideoFeatures} constructor. */
export type VideoFeaturesInit = {
  local: Float32Tensor;
  global: Float32Tensor;
  sizes: Float32Tensor;
  timestamps: Float32Array;
  /** [segments · tokensPerSegment]: for tokens that have places in `grid`, these, ascending in each segment. */
  positions?: Int32Array | undefined;
  /** [segments · tokens of `grid`]: for each of these the index of the token of its segment that it went into, or -1. */
  owners?: Int32Array | undefined;
  /** The tokens of a segment before it was reduced. */
  grid?: TokenGrid | undefined;
  /** What a reducer of whole videos did. */
  report?: ReductionReport | undefined;
  sampling: Sampling;
  tower: string;
  /** Identity of the projector, if the tokens are its output. */
  projector?: string | undefined;
  source: VideoSource;
};

const initNames = [
  ...(['local', 'global', 'sizes', 'timestamps', 'positions', 'owners', 'grid', 'report'] as const),
  ...(['sampling', 'tower', 'projector', 'source'] as const),
] as const;
const maxPlaces = 2 ** 31 - 1;

const seconds = v.pipe(finiteNumber, v.minValue(0, 'number of at least 0'));

export const samplingRecord = v.object({
  frames: integer(1),
  segmentFrames: integer(1),
  tokensPerSegment: integer(1),
  globalLayers: integer(0),
  resize: v.picklist(resizes),
  // Older files have no `reduction`: `merge` was the only one.
  reduction: v.optional(nonEmptyString, 'merge'),
  reductionOptions: v.optional(
    v.pipe(jsonObject, v.record(v.string(), v.union([finiteNumber, v.string(), v.boolean()]))),
  ),
  mergeHeads: v.optional(integer(1)),
  start: v.optional(seconds),
  end: v.optional(seconds),
  fps: v.optional(positiveNumber),
});

export const gridRecord = v.object({ steps: integer(1), rows: integer(1), columns: integer(1) });

const counts = v.array(integer(0));

export const reportRecord = v.object({
  method: nonEmptyString,
  inputTokens: integer(0),
  tokens: integer(0),
  picked: integer(0),
  merged: integer(0),
  dropped: integer(0),
  tokensOfFrames: counts,
  segments: v.optional(counts),
  attention: v.optional(v.picklist(attentionSources)),
  changed: v.boolean(),
  text: v.string(),
});

export const sourceRecord = v.object({
  name: v.string(),
  durationSeconds: seconds,
  frameCount: integer(1),
  width: integer(1),
  height: integer(1),
  warnings: v.array(v.string()),
});

/**
 * Checks that features are whole, and that their parts fit each other.
 * @returns what was checked, read once
 * @throws TypeError or RangeError
 */
export function checkFeatures(features: VideoFeaturesInit): VideoFeaturesInit {
  const given = readOptions(checkObject('features', features), initNames);
  const { tower, projector, timestamps, positions, owners } = given;
  const sampling = parse(v.pipe(jsonObject, samplingRecord), given.sampling, 'sampling', 'sampling.');
  const source = parse(v.pipe(jsonObject, sourceRecord), given.source, 'source', 'source.');
  const grid = given.grid && parse(v.pipe(jsonObject, gridRecord), given.grid, 'grid', 'grid.');
  const report = given.report && parse(v.pipe(jsonObject, reportRecord), given.report, 'report', 'report.');
  checkString('tower', tower);
  if (projector !== undefined) checkString('projector', projector);
  const { frames, segmentFrames, tokensPerSegment, globalLayers, start, end } = sampling;
  if (frames % segmentFrames !== 0) wrongValue('frames', `multiple of segmentFrames (${segmentFrames})`, frames);
  if (start !== undefined && end !== undefined && end < start)
    wrongValue('end', `number of at least start (${start})`, end);
  const segments = frames / segmentFrames;
  const local = checkFloat32Tensor('local', given.local, [segments, tokensPerSegment, 'channels']);
  const channels = local.dims[2]!;
  if (channels === 0) wrongValue('local.dims[2]', 'positive integer', 0);
  const global = checkFloat32Tensor('global', given.global, [globalLayers, channels]);
  const sizes = checkFloat32Tensor('sizes', given.sizes, [segments, tokensPerSegment]);
  if (!isFloat32Array(timestamps)) wrongType('timestamps', 'Float32Array', timestamps);
  if (timestamps.length !== frames) wrongValue('timestamps.length', String(frames), timestamps.length);
  if (grid) checkGrid(grid, sampling);
  if (positions !== undefined) {
    if (!isInt32Array(positions)) wrongType('positions', 'Int32Array', positions);
    if (grid === undefined) wrongType('grid', 'object, as positions are given,', grid);
    checkPositions('positions', positions, { segments, count: tokensPerSegment, places: tokensOf(grid) });
  }
  if (owners !== undefined) checkOwners(owners, grid, { segments, count: tokensPerSegment });
  return { local, global, sizes, timestamps, positions, owners, grid, report, sampling, tower, projector, source };
}

function checkGrid(grid: TokenGrid, { segmentFrames, tokensPerSegment }: Sampling): void {
  if (segmentFrames % grid.steps !== 0)
    wrongValue('grid.steps', `divisor of segmentFrames (${segmentFrames})`, grid.steps);
  // As indices of 32 bits.
  if (tokensOf(grid) > maxPlaces) wrongValue('tokens of grid', `number of at most ${maxPlaces}`, tokensOf(grid));
  if (tokensPerSegment > tokensOf(grid))
    wrongValue('tokensPerSegment', `number of at most the tokens of grid (${tokensOf(grid)})`, tokensPerSegment);
}
