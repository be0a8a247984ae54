// How large the frames of a video are for a tower that takes any size: its time and its tokens grow with their pixels.
import { checkInteger, wrongValue } from '../base/validate.js';
import type { VisionConfig } from '../tower/source.js';

/** Tokens of a step by default, about what towers of one size give of a frame. The models themselves take many times as many. */
const usualTokens = 256;

/** What of a settled sampling says how large frames are. */
export type PixelBudget = {
  /** The most pixels of a frame. */
  readonly maxPixels?: number;
  /** Whether frames have as many pixels as the budget of tokens needs. */
  readonly fitsBudget?: true;
};

/** What of a request does. */
type PixelRequest = {
  readonly maxPixels?: number | undefined;
  readonly tokens?: number | 'all' | undefined;
  readonly reduction?: unknown;
};

/** A sampling with a budget of tokens that its segments share, each read in so many frames. */
type Budgeted = PixelBudget & {
  readonly tokens?: number;
  readonly globalLayers: number;
  readonly segmentFrames: number;
  readonly readFrames?: number;
};

/**
 * Settles how large frames are. Where a budget of tokens is given, and neither a size nor a reduction, they become as small as the
 * budget needs, so that nothing is computed to be dropped.
 * @throws RangeError for `maxPixels` with a tower of one size
 */
export function settlePixels(
  { maxPixels, tokens, reduction }: PixelRequest,
  { cell }: Pick<VisionConfig, 'cell'>,
): PixelBudget {
  if (!cell) {
    if (maxPixels !== undefined)
      wrongValue('maxPixels', 'nothing, as the vision tower takes frames of one size,', maxPixels);
    return {};
  }
  if (maxPixels !== undefined) return { maxPixels: checkInteger('maxPixels', maxPixels, 1) };
  if (typeof tokens === 'number' && reduction === undefined) return { fitsBudget: true };
  return { maxPixels: usualTokens * cell.pixels ** 2 };
}

/** The most pixels of one of so many frames; undefined where all are of one size. */
export function mostPixels(
  { maxPixels, fitsBudget, tokens, globalLayers, readFrames, segmentFrames }: Budgeted,
  frames: number,
  { cell, framesPerStep = 1 }: Pick<VisionConfig, 'cell' | 'framesPerStep'>,
): number | undefined {
  if (!cell || !fitsBudget || tokens === undefined) return maxPixels;
  const together = readFrames ?? segmentFrames;
  const ofSegment = Math.floor((tokens - globalLayers) / (frames / together));
  const ofStep = Math.floor(ofSegment / (together / framesPerStep));
  return Math.max(1, ofStep) * cell.pixels ** 2;
}
