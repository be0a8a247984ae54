// Frames of a size that a tower takes, and the tokens that come of them.
import { LongVLMError } from '../base/errors.js';
import { largestEdge } from '../base/resize.js';
import { checkInteger, checkObject, wrongValue } from '../base/validate.js';
import type { FrameShape, FrameSize, VisionConfig } from './source.js';

/** The shape of frames, for a tower of one size. */
export function squareShape({ imageSize, patches, grid }: VisionConfig): FrameShape {
  return { width: imageSize, height: imageSize, patches, grid };
}

/**
 * The shape of frames of a size, for a tower of any size.
 * @throws TypeError or RangeError for a size that is none of whole cells; LongVLMError `ERR_LONGVLM_VIDEO` for one that is too large
 */
export function shapeOfCells({ cell }: VisionConfig, size: FrameSize): FrameShape {
  const { width, height } = checkObject('size', size);
  const { pixels } = cell!;
  for (const [name, edge] of Object.entries({ width, height }))
    if (checkInteger(`size.${name}`, edge, pixels) % pixels !== 0)
      wrongValue(`size.${name}`, `multiple of ${pixels} pixels`, edge);
  if (Math.max(width, height) > largestEdge)
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `The vision tower would take frames of ${width}x${height} pixels, above ${largestEdge}. Take more frames of the video, or crop it.`,
    );
  const [rows, columns] = [height / pixels, width / pixels];
  return { width, height, patches: rows * columns, grid: [rows, columns] };
}
