import { largestEdge, type Resize, resizes } from '../base/resize.js';
import { checkInteger, checkObject, checkOneOf, wrongType, wrongValue } from '../base/validate.js';
import { type FoundTurn, isSideways, turnFilters } from './turn.js';

/**
 * Size and shape of the resulting pictures. `'source'` is the full size as displayed; otherwise a square of `size` pixels:
 * - `crop`, as CLIP does: bicubic resize with antialiasing to a shortest edge of `shortestEdge`, then a centre crop.
 * - `pad`, as LLaVA does: padded with `padColor` to a square, then bicubic resize to `size`.
 * - `squash`, as LongVLM's loader does: nearest neighbour, `source = floor(target * in / out)`, ignoring the aspect ratio;
 *   with `filter: 'bicubic'` as the image processors of other models do.
 *
 * The file's sample aspect ratio is ignored, as in the reference implementation: pixels count as square.
 */
export type FrameGeometry =
  | 'source'
  | {
      readonly resize: Resize;
      /** Height and width of the result, in pixels. */
      readonly size: number;
      /** For `crop`: the smaller of height and width before cropping, in pixels. Defaults to `size`. */
      readonly shortestEdge?: number;
      /** For `pad`: red, green and blue from 0 to 255. Defaults to CLIP's mean colour, `[122, 116, 104]`. */
      readonly padColor?: readonly [number, number, number];
      /** For `squash`. Defaults to `nearest`. */
      readonly filter?: 'nearest' | 'bicubic';
    };

/** How ffmpeg makes a picture, and the remaining work. Sizes in pixels. */
export type FramePipeline = {
  /** Chain of filters from a decoded frame to RGB. */
  readonly filters: readonly string[];
  /** Size of the largest picture on the way. */
  readonly largest: { readonly width: number; readonly height: number };
  /** Size of the pictures that ffmpeg writes. */
  readonly piped: { readonly width: number; readonly height: number };
  /** Size of the result. If it differs from `piped`, rows and columns are picked by nearest neighbour. */
  readonly width: number;
  readonly height: number;
};

/** Size of pictures as they are stored, in pixels, and how they are turned to be shown. */
export type StoredPicture = {
  readonly width: number;
  readonly height: number;
  readonly turn: FoundTurn;
};

/** The sizes of a {@link FramePipeline}. */
export type FrameSizes = Omit<FramePipeline, 'filters' | 'largest'>;

const CLIP_MEAN_COLOR = [122, 116, 104] as const;

/** @throws TypeError or RangeError if `value` is not a {@link FrameGeometry}. */
export function checkGeometry(value: unknown): FrameGeometry {
  if (value === 'source') return value;
  if (typeof value === 'string') wrongValue('geometry', "'source' or an object", value);
  const { resize, size, shortestEdge, padColor, filter } = checkObject(
    'geometry',
    value as Exclude<FrameGeometry, string>,
  );
  checkOneOf('geometry.resize', resize, resizes);
  if (filter !== undefined) checkOneOf('geometry.filter', filter, ['nearest', 'bicubic']);
  checkInteger('geometry.size', size, 1, largestEdge);
  if (shortestEdge !== undefined) checkInteger('geometry.shortestEdge', shortestEdge, size, largestEdge);
  if (padColor !== undefined) {
    if (!Array.isArray(padColor)) wrongType('geometry.padColor', 'array of 3 integers', padColor);
    if (padColor.length !== 3) wrongValue('geometry.padColor', 'array of 3 integers', padColor);
    for (const [i, channel] of padColor.entries()) checkInteger(`geometry.padColor[${i}]`, channel, 0, 255);
  }
  return value as FrameGeometry;
}

/**
 * With these flags the colours are bit-exact with the reference implementation's decoder. Evaluated for each frame, as its size
 * may change within a file.
 */
const TO_RGB = ['scale=flags=bicubic:eval=frame', 'format=rgb24'];

/** The pipeline of `geometry` for stored pictures. */
export function framePipeline(geometry: FrameGeometry, stored: StoredPicture): FramePipeline {
  const turned = isSideways(stored.turn);
  const width = turned ? stored.height : stored.width;
  const height = turned ? stored.width : stored.height;
  const rgb = [...(stored.turn.byFfmpeg ? [] : turnFilters(stored.turn)), ...TO_RGB];
  if (geometry === 'source' || (geometry.resize === 'squash' && geometry.filter !== 'bicubic')) {
    // If the frame size changes within a file, frames are scaled to the size of the first one.
    const filters = [...rgb, `scale=${width}:${height}:flags=neighbor`];
    const size = geometry === 'source' ? { width, height } : { width: geometry.size, height: geometry.size };
    return { filters, largest: { width, height }, piped: { width, height }, ...size };
  }

  const { size, shortestEdge = size, padColor = CLIP_MEAN_COLOR } = geometry;
  const square = { width: size, height: size };
  if (geometry.resize === 'squash')
    return { filters: [...rgb, bicubic(size, size)], largest: { width, height }, piped: square, ...square };
  if (geometry.resize === 'pad') {
    const side = Math.max(width, height);
    const [x, y] = [Math.floor((side - width) / 2), Math.floor((side - height) / 2)];
    const color = padColor.map((channel) => channel.toString(16).padStart(2, '0')).join('');
    return {
      filters: [...rgb, `pad=${side}:${side}:${x}:${y}:color=0x${color}`, bicubic(size, size)],
      largest: { width: side, height: side },
      piped: square,
      ...square,
    };
  }
  const longest = Math.floor((shortestEdge * Math.max(width, height)) / Math.min(width, height));
  const [w, h] = width < height ? [shortestEdge, longest] : [longest, shortestEdge];
  const [x, y] = [Math.floor((w - size) / 2), Math.floor((h - size) / 2)];
  return {
    filters: [...rgb, bicubic(w, h), `crop=${size}:${size}:${x}:${y}`],
    largest: { width: w, height: h },
    piped: square,
    ...square,
  };
}

/** Closest to Pillow's antialiased bicubic filter, and only if applied to RGB: it differs by 0.35 of 255 on average. */
function bicubic(width: number, height: number): string {
  return `scale=${width}:${height}:flags=bicubic+accurate_rnd`;
}
