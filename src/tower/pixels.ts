// Converts frames of any size to a tower's input.
import { LongVLMError } from '../base/errors.js';
import { largestEdge, type Resize, resizes } from '../base/resize.js';
import { checkNumber, checkObject, checkOneOf, isArray, wrongType } from '../base/validate.js';
import type { PixelNormalization, PixelRules } from './source.js';

/** How frames of any size are made square for a tower. */
export type TowerGeometry = {
  /** Crop the middle, squash to a square, or pad to a square. */
  readonly resize: Resize;
  /** Width and height of a finished frame in pixels: S. */
  readonly size: number;
  /** For `crop`: pixels of the shorter edge before the middle is cropped. */
  readonly shortestEdge: number;
  /** For `pad`: red, green and blue, 0 to 255. */
  readonly padColor: readonly [number, number, number];
  /** For `squash`: how. Defaults to `nearest`. */
  readonly filter?: 'nearest' | 'bicubic';
};

/**
 * The geometry of a tower's pixels, with the model's own way of resizing by default.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for `pad` with a mean that is no colour
 */
export function frameGeometry(
  rules: PixelRules,
  resize: TowerGeometry['resize'] = checkObject('rules', rules).resize,
): TowerGeometry {
  checkOneOf('resize', resize, resizes);
  if (!isArray(rules.mean)) wrongType('rules.mean', 'array of three numbers', rules.mean);
  // LLaVA pads with the mean colour, truncated to integers.
  const rescale = checkNumber('rules.rescale', rules.rescale, 0);
  const color = Array.from(rules.mean, (mean, i) =>
    Math.trunc(checkNumber(`rules.mean[${i}]`, mean, Number.NEGATIVE_INFINITY) / rescale),
  );
  if (resize === 'pad' && color.some((value) => value < 0 || value > 255))
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `Frames cannot be padded with the tower's mean, ${color.join(', ')} of 255, which is no colour. Choose resize crop or squash.`,
    );
  const [red, green, blue] = color.map((value) => Math.min(255, Math.max(0, value)));
  return {
    resize,
    size: rules.imageSize,
    shortestEdge: rules.shortestEdge,
    padColor: [red!, green!, blue!],
    ...(resize === 'squash' && rules.filter !== undefined && { filter: rules.filter }),
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
