// Converts frames of any size to a tower's input.
import * as v from 'valibot';
import { LongVLMError } from '../base/errors.js';
import { largestEdge, type Resize, resizes, type SquashFilter, squashFilters } from '../base/resize.js';
import { integer, number, parse } from '../base/schema.js';
import { checkOneOf, wrongValue } from '../base/validate.js';
import type { FrameSize, PixelNormalization, PixelRules } from './source.js';

/** How frames of any size are made those that a tower takes. */
export type TowerGeometry = {
  /** Crop the middle, squash to a square, or pad to a square. */
  readonly resize: Resize;
  /** Width and height of a finished frame in pixels: S. For a tower of any size, of the largest square. */
  readonly size: number;
  /** Width and height where a tower of any size takes a finished frame that is no square. */
  readonly width?: number;
  readonly height?: number;
  /** For `crop`: pixels of the shorter edge before the middle is cropped. */
  readonly shortestEdge: number;
  /** For `pad`: red, green and blue, 0 to 255. */
  readonly padColor: readonly [number, number, number];
  /** For `squash`: how. Defaults to `nearest`. */
  readonly filter?: SquashFilter;
  /** For `squash` with a filter: the longer edge of the picture in between. */
  readonly longestEdge?: number;
};

const channels = v.tuple([v.number(), v.number(), v.number()]);

/** A schema of {@link PixelRules}. */
export const pixelRules = v.looseObject({
  imageSize: integer(1),
  resize: v.picklist(resizes),
  filter: v.optional(v.picklist(squashFilters)),
  longestEdge: v.optional(integer(1, largestEdge)),
  shortestEdge: integer(1),
  mean: channels,
  std: channels,
  rescale: number(0),
  cell: v.optional(v.object({ pixels: integer(1), patches: integer(1) })),
});

/**
 * The geometry of a tower's pixels, with the model's own way of resizing by default.
 * @param frame the size of finished frames, for a tower of any size
 * @throws RangeError for another resize than `squash` with a tower of any size; LongVLMError `ERR_LONGVLM_UNSUPPORTED` for
 *   `pad` with a mean that is no colour
 */
export function frameGeometry(given: PixelRules, wanted?: TowerGeometry['resize'], frame?: FrameSize): TowerGeometry {
  const rules = parse(pixelRules, given, 'rules', 'rules.');
  const resize = wanted === undefined ? rules.resize : checkOneOf('resize', wanted, resizes);
  if (rules.cell && resize !== 'squash')
    wrongValue('resize', "'squash', as the vision tower takes frames of any size,", resize);
  // LLaVA pads with the mean colour, truncated to integers.
  const color = rules.mean.map((mean) => Math.trunc(mean / rules.rescale));
  if (resize === 'pad' && color.some((value) => value < 0 || value > 255))
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `Frames cannot be padded with the tower's mean, ${color.join(', ')} of 255, which is no colour. Choose resize crop or squash.`,
    );
  const [red, green, blue] = color.map((value) => Math.min(255, Math.max(0, value)));
  return {
    resize,
    size: rules.imageSize,
    ...(rules.cell && frame && { width: frame.width, height: frame.height }),
    shortestEdge: rules.shortestEdge,
    padColor: [red!, green!, blue!],
    ...(resize === 'squash' && rules.filter !== undefined && { filter: rules.filter }),
    ...(resize === 'squash' && rules.longestEdge !== undefined && { longestEdge: rules.longestEdge }),
  };
}

/**
 * Checks that frames can be made for a tower, before any is.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED`
 */
export function checkPixelRules(path: string, rules: PixelRules): void {
  const { imageSize, shortestEdge, mean, std, rescale } = rules;
  const refuse = (cause: string, remedy: string) => {
    throw new LongVLMError('ERR_LONGVLM_UNSUPPORTED', `${path}: ${cause}. ${remedy}`);
  };
  if (Math.max(imageSize, shortestEdge) > largestEdge)
    refuse(
      `it takes frames of ${Math.max(imageSize, shortestEdge)} pixels, above ${largestEdge}`,
      'Use another tower.',
    );
  if (shortestEdge < imageSize)
    refuse(`frames of ${imageSize} pixels cannot be cropped of ${shortestEdge} pixels`, 'Use another tower.');
  if (!normalizationTable(rules).every(Number.isFinite))
    refuse(
      `pixels normalised by the mean ${mean.join(', ')}, the deviation ${std.join(', ')} and the factor ${rescale} are no finite numbers`,
      'Correct its configuration.',
    );
}

/** The normalised value of each of the 256 pixel values, channel after channel. */
export function normalizationTable({ mean, std, rescale }: PixelNormalization): Float32Array {
  return Float32Array.from({ length: 768 }, (_, index) => {
    const channel = index >> 8;
    return ((index & 255) * rescale - mean[channel]!) / std[channel]!;
  });
}
