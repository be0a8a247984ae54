// Which size the frames of a video get for towers that take any: as many pixels as the whole video, or each frame, may have.
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
  const shown = atLeastOneCell(video, cell);
  checkAspect(video, shown);
  const most = Math.min(mostPixels(frames, cell, bounds), cap(video) * frames);
  const counted = roundHalfEven(frames / framesPerStep) * framesPerStep;
  return fitted(shown, cell, { frames, counted, least: bounds.minPixels, most });
}

/** What bounds the size of each frame by itself. */
export type FrameBounds = {
  readonly cell: number;
  readonly framesPerStep: number;
  /** Least and most pixels of a frame. */
  readonly minPixels: number;
  readonly maxPixels: number;
  /** Tokens of a whole video, of which nine tenths are shared by its frames. Undefined where they bound nothing. */
  readonly maxVideoTokens?: number;
};

/**
 * The size of frames as `smart_resize` of transformers' Qwen2VLVideoProcessor has it: the video's own, in multiples of a cell,
 * smaller or larger where it has too many or too few pixels.
 * @throws LongVLMError `ERR_LONGVLM_VIDEO` for a video that is more than 200 times as long as it is wide
 */
export function frameSize(
  video: ShownVideo,
  { cell, framesPerStep, minPixels, maxPixels, maxVideoTokens }: FrameBounds,
): FrameSize {
  checkAspect(video, video);
  const all =
    maxVideoTokens === undefined
      ? Number.POSITIVE_INFINITY
      : Math.trunc(maxVideoTokens * cell * cell * 0.9) * framesPerStep;
  const share = maxVideoTokens === undefined ? maxPixels : Math.min(maxPixels, Math.floor(all / video.frames));
  const own = maxVideoTokens === undefined ? share : Math.max(share, Math.trunc(minPixels * reserve));
  const most = Math.min(own, cap(video));
  return fitted(video, cell, { frames: 1, counted: 1, least: minPixels, most });
}

/** The most pixels of a frame, one cell at least, that whoever encodes the video asks for. */
const cap = ({ maxPixels }: ShownVideo) => maxPixels ?? Number.POSITIVE_INFINITY;

type Fitting = {
  readonly frames: number;
  /** Frames that are counted, which are whole steps. */
  readonly counted: number;
  /** Pixels of these frames together. */
  readonly least: number;
  readonly most: number;
};

function fitted({ width, height }: FrameSize, cell: number, { frames, counted, least, most }: Fitting): FrameSize {
  const inCells = (edge: number) => roundHalfEven(edge / cell) * cell;
  const pixels = counted * inCells(width) * inCells(height);
  if (pixels > most) {
    const shrunk = Math.sqrt((frames * height * width) / most);
    const smaller = (edge: number) => Math.max(cell, Math.floor(edge / shrunk / cell) * cell);
    return { width: smaller(width), height: smaller(height) };
  }
  // Whoever asks for fewer than the model has wants none added.
  if (least <= most && pixels < least) {
    const grown = Math.sqrt(least / (frames * height * width));
    const larger = (edge: number) => Math.ceil((edge * grown) / cell) * cell;
    return { width: larger(width), height: larger(height) };
  }
  return { width: Math.max(cell, inCells(width)), height: Math.max(cell, inCells(height)) };
}

function checkAspect(video: FrameSize, { width, height }: FrameSize): void {
  if (Math.max(width, height) / Math.min(width, height) > mostAspect)
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `The video has frames of ${video.width}x${video.height} pixels, and the vision tower takes none that are more than ${mostAspect} times as long as wide. Crop it.`,
    );
}

/** Width and height, enlarged where one of them is smaller than a cell. */
function atLeastOneCell({ width, height }: ShownVideo, cell: number): FrameSize {
  if (height >= cell && width >= cell) return { width, height };
  const scale = Math.max(cell / height, cell / width);
  return { width: Math.trunc(width * scale), height: Math.trunc(height * scale) };
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
