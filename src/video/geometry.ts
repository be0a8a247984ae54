import { checkInteger, checkObject, checkOneOf, wrongType, wrongValue } from '../base/validate.js';

/**
 * The pictures that come out. `'source'` is the full size as displayed; otherwise a square of `size` pixels:
 * - `crop`, as CLIP does: bicubic with antialiasing to a shortest edge of `shortestEdge`, then the centre.
 * - `pad`, as LLaVA does: bars of `padColor` to a square, then bicubic to `size`.
 * - `squash`, as LongVLM's loader does: nearest neighbour, `source = floor(target * in / out)`, whatever the aspect.
 *
 * Pixels count as square, whatever the file's sample aspect ratio says, as in the reference.
 */
export type FrameGeometry =
  | 'source'
  | {
      readonly resize: 'crop' | 'squash' | 'pad';
      /** Height and width of the result, in pixels. */
      readonly size: number;
      /** For `crop`: height or width before cropping, whichever is less. Defaults to `size`. */
      readonly shortestEdge?: number;
      /** For `pad`: red, green and blue from 0 to 255. Defaults to CLIP's mean colour, `[122, 116, 104]`. */
      readonly padColor?: readonly [number, number, number];
    };

/** How ffmpeg makes a picture, and what is left to do. Sizes in pixels. */
export type FramePipeline = {
  /** Filters for one chain, from a decoded frame to RGB. */
  readonly filters: readonly string[];
  /** Size of what ffmpeg writes. */
  readonly piped: { readonly width: number; readonly height: number };
  /** Size of the result: where it differs, rows and columns are picked. */
  readonly width: number;
  readonly height: number;
};

/** The sizes of a {@link FramePipeline}. */
export type FrameSizes = Omit<FramePipeline, 'filters'>;

const MAX_SIZE = 16_384;
const CLIP_MEAN_COLOR = [122, 116, 104] as const;

/** @throws TypeError or RangeError where `value` is no {@link FrameGeometry}. */
export function checkGeometry(value: unknown): FrameGeometry {
  if (value === 'source') return value;
  if (typeof value === 'string') wrongValue('geometry', "'source' or an object", value);
  const { resize, size, shortestEdge, padColor } = checkObject('geometry', value as Exclude<FrameGeometry, string>);
  checkOneOf('geometry.resize', resize, ['crop', 'squash', 'pad']);
  checkInteger('geometry.size', size, 1, MAX_SIZE);
  if (shortestEdge !== undefined) checkInteger('geometry.shortestEdge', shortestEdge, size, MAX_SIZE);
  if (padColor !== undefined) {
    if (!Array.isArray(padColor)) wrongType('geometry.padColor', 'array of 3 integers', padColor);
    if (padColor.length !== 3) wrongValue('geometry.padColor', 'array of 3 integers', padColor);
    for (const [i, part] of padColor.entries()) checkInteger(`geometry.padColor[${i}]`, part, 0, 255);
  }
  return value as FrameGeometry;
}

const TURNS = { 0: [], 90: ['transpose=clock'], 180: ['hflip', 'vflip'], 270: ['transpose=cclock'] } as const;
/** With these flags the colours are, to the bit, those that the reference's decoder gives. */
const TO_RGB = ['scale=flags=bicubic', 'format=rgb24'];

/** `geometry` for pictures stored as `width` by `height` that are turned by `rotation` degrees for display. */
export function framePipeline(
  geometry: FrameGeometry,
  stored: { readonly width: number; readonly height: number; readonly rotation: 0 | 90 | 180 | 270 },
): FramePipeline {
  const turned = stored.rotation % 180 === 90;
  const width = turned ? stored.height : stored.width;
  const height = turned ? stored.width : stored.height;
  const rgb = [...TURNS[stored.rotation], ...TO_RGB];
  if (geometry === 'source' || geometry.resize === 'squash') {
    // Frames whose size changes in the middle of a file come out at the first one's.
    const filters = [...rgb, `scale=${width}:${height}:flags=neighbor`];
    const size = geometry === 'source' ? { width, height } : { width: geometry.size, height: geometry.size };
    return { filters, piped: { width, height }, ...size };
  }

  const { size, shortestEdge = size, padColor = CLIP_MEAN_COLOR } = geometry;
  const square = { width: size, height: size };
  if (geometry.resize === 'pad') {
    const side = Math.max(width, height);
    const [x, y] = [Math.floor((side - width) / 2), Math.floor((side - height) / 2)];
    const color = padColor.map((part) => part.toString(16).padStart(2, '0')).join('');
    return {
      filters: [...rgb, `pad=${side}:${side}:${x}:${y}:color=0x${color}`, bicubic(size, size)],
      piped: square,
      ...square,
    };
  }
  const longest = Math.floor((shortestEdge * Math.max(width, height)) / Math.min(width, height));
  const [w, h] = width < height ? [shortestEdge, longest] : [longest, shortestEdge];
  const [x, y] = [Math.floor((w - size) / 2), Math.floor((h - size) / 2)];
  return { filters: [...rgb, bicubic(w, h), `crop=${size}:${size}:${x}:${y}`], piped: square, ...square };
}

/** Closest to Pillow's antialiased bicubic, and only so on RGB: 0.35 of 255 off on average. */
function bicubic(width: number, height: number): string {
  return `scale=${width}:${height}:flags=bicubic+accurate_rnd`;
}
