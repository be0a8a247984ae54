// Which size the frames of a video get for towers that take any: as many pixels as the whole video may have.
import { LongVLMError } from '../../base/errors.js';
import type { FrameSize, ShownVideo } from '../source.js';

/** What bounds the size of frames. */
export type SizeBounds = {
  /** Pixels that become a token of a step: width and height of a frame are multiples of it. */
  readonly cell: number;
  /** Frames of a step. */
  readonly framesPerStep: number;
  /** Least and most pixels of all frames of a video together. */
  readonly minPixels: number;
  readonly maxPixels: number;
  /** Most tokens of a step; each frame then has a share of `maxPixels`, too. Undefined where short videos have large frames. */
  readonly maxStepTokens?: number;
};

const mostAspect = 200;
// As the processor reserves above its least number of pixels.
const reserve = 1.05;

/**
 * The size of a video's frames as `smart_resize` of transformers' Qwen3VLVideoProcessor has it: the video's own, in multiples of
 * a cell, smaller or larger where all frames together have too many or too few pixels.
 * @throws LongVLMError `ERR_LONGVLM_VIDEO` for a video that is more than 200 times as long as it is wide
 */
export function videoSize(video: ShownVideo, { cell, framesPerStep, ...bounds }: SizeBounds): FrameSize {
  const { frames } = video;
  const [width, height] = atLeastOneCell(video, cell);
  if (Math.max(width, height) / Math.min(width, height) > mostAspect)
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `The video has frames of ${video.width}x${video.height} pixels, and the vision tower takes none that are more than ${mostAspect} times as long as wide. Crop it.`,
    );
  const most = mostPixels(frames, cell, bounds);
  const inCells = (edge: number) => roundHalfEven(edge / cell) * cell;
  const pixels = roundHalfEven(frames / framesPerStep) * framesPerStep * inCells(width) * inCells(height);
  if (pixels > most) {
    const shrunk = Math.sqrt((frames * height * width) / most);
    const fitted = (edge: number) => Math.max(cell, Math.floor(edge / shrunk / cell) * cell);
    return { width: fitted(width), height: fitted(height) };
  }
  if (pixels < bounds.minPixels) {
    const grown = Math.sqrt(bounds.minPixels / (frames * height * width));
    const fitted = (edge: number) => Math.ceil((edge * grown) / cell) * cell;
    return { width: fitted(width), height: fitted(height) };
  }
  return { width: inCells(width), height: inCells(height) };
}

/** Width and height, enlarged where one of them is smaller than a cell. */
function atLeastOneCell({ width, height }: ShownVideo, cell: number): [number, number] {
  if (height >= cell && width >= cell) return [width, height];
  const scale = Math.max(cell / height, cell / width);
  return [Math.trunc(width * scale), Math.trunc(height * scale)];
}

function mostPixels(
  frames: number,
  cell: number,
  { minPixels, maxPixels, maxStepTokens }: Omit<SizeBounds, 'cell' | 'framesPerStep'>,
): number {
  if (maxStepTokens === undefined) return maxPixels;
  const share = Math.min(maxStepTokens * cell * cell, Math.floor(maxPixels / frames));
  return Math.max(share, Math.trunc(minPixels * reserve)) * frames;
}

/** As Python rounds. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
