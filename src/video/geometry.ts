import { largestEdge, type Resize, resizes, type SquashFilter, squashFilters } from '../base/resize.js';
import { checkInteger, checkObject, checkOneOf, isArray, wrongType, wrongValue } from '../base/validate.js';
import { type FoundTurn, isSideways, turnFilters } from './turn.js';

/**
 * Size and shape of the resulting pictures. `'source'` is the full size as displayed; otherwise a square of `size` pixels, or
 * for `squash` any `width` and `height`:
 * - `crop`, as CLIP does: bicubic resize with antialiasing to a shortest edge of `shortestEdge`, then a centre crop.
 * - `pad`, as LLaVA does: padded with `padColor` to a square, then bicubic resize to `size`.
 * - `squash`, as LongVLM's loader does: nearest neighbour, `source = floor(target * in / out)`, ignoring the aspect ratio;
 *   with another `filter` as the image processors of other models do.
 *
 * The file's sample aspect ratio is ignored, as in the reference implementation: pixels count as square.
 */
export type FrameGeometry =
  | 'source'
  | {
      readonly resize: Resize;
      /** Height and width of the result, in pixels. */
      readonly size: number;
      /** For `squash`: width and height of the result, in pixels, where it is no square. Default to `size`. */
      readonly width?: number;
      readonly height?: number;
      /** For `crop`: the smaller of height and width before cropping, in pixels. Defaults to `size`. */
      readonly shortestEdge?: number;
      /** For `pad`: red, green and blue from 0 to 255. Defaults to CLIP's mean colour, `[122, 116, 104]`. */
      readonly padColor?: readonly [number, number, number];
      /** For `squash`. Defaults to `nearest`. */
      readonly filter?: SquashFilter;
      /**
       * For `squash` with another filter than `nearest`: pixels of the longer edge of a picture in between, which keeps the
       * aspect ratio, its shorter edge rounded up to an even number. Defaults to none in between.
       */
      readonly longestEdge?: number;
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
  const { resize, size, width, height, shortestEdge, padColor, filter, longestEdge } = checkObject(
    'geometry',
    value as Exclude<FrameGeometry, string>,
  );
  checkOneOf('geometry.resize', resize, resizes);
  if (filter !== undefined) checkOneOf('geometry.filter', filter, squashFilters);
  if (longestEdge !== undefined) checkInteger('geometry.longestEdge', longestEdge, 1, largestEdge);
  checkInteger('geometry.size', size, 1, largestEdge);
  for (const [name, edge] of Object.entries({ width, height })) {
    if (edge === undefined) continue;
    if (resize !== 'squash') wrongValue(`geometry.resize, as ${name} is given,`, "'squash'", resize);
    checkInteger(`geometry.${name}`, edge, 1, largestEdge);
  }
  if (shortestEdge !== undefined) checkInteger('geometry.shortestEdge', shortestEdge, size, largestEdge);
  if (padColor !== undefined) {
    if (!isArray(padColor)) wrongType('geometry.padColor', 'array of 3 integers', padColor);
    if (padColor.length !== 3) wrongValue('geometry.padColor', 'array of 3 integers', padColor);
    for (const [i, channel] of padColor.entries()) checkInteger(`geometry.padColor[${i}]`, channel, 0, 255);
  }
  return value as FrameGeometry;
}

/**
 * Where resizing would make larger pictures on the way, those of long and narrow strips, it takes another way, whose results
 * differ by rounding. 8192 x 8192: more than a picture of 8K takes.
 */
const LARGE = 2 ** 26;

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
  if (geometry === 'source' || (geometry.resize === 'squash' && (geometry.filter ?? 'nearest') === 'nearest')) {
    // If the frame size changes within a file, frames are scaled to the size of the first one.
    const filters = [...rgb, `scale=${width}:${height}:flags=neighbor`];
    const size = geometry === 'source' ? { width, height } : squashedSize(geometry);
    return { filters, largest: { width, height }, piped: { width, height }, ...size };
  }

  const { size, shortestEdge = size, padColor = CLIP_MEAN_COLOR } = geometry;
  const square = { width: size, height: size };
  const [short, long] = [Math.min(width, height), Math.max(width, height)];
  /** x and y, or width and height, from what goes across the longer side and along it. */
  const turn = (across: number, along: number) =>
    (width < height ? [across, along] : [along, across]) as [number, number];
  const made = ([width, height]: readonly [number, number], ...filters: string[]): FramePipeline => {
    return { filters: [...rgb, ...filters], largest: { width, height }, piped: square, ...square };
  };
  if (geometry.resize === 'squash') {
    const squashed = squashedSize(geometry);
    const { longestEdge } = geometry;
    const step = inAllColors(geometry.filter as Filter);
    const end = [squashed.width, squashed.height] as const;
    const whole = (largest: readonly [number, number], ...filters: string[]) => {
      return { ...made(largest, ...filters), piped: squashed, ...squashed };
    };
    if (longestEdge === undefined) return whole([width, height], ...steps(step, width, height, ...end));
    const aspect = width / height;
    // As floating-point numbers, in which transformers computes it, too.
    const shorter = Math.max(1, Math.floor(width < height ? longestEdge * aspect : longestEdge / aspect));
    const between = turn(shorter + (shorter % 2), longestEdge);
    const largest = [Math.max(width, between[0]), Math.max(height, between[1])] as const;
    return whole(largest, ...steps(step, width, height, ...between), ...steps(step, ...between, ...end));
  }
  if (geometry.resize === 'pad') {
    const before = Math.floor((long - short) / 2);
    const color = padColor.map((channel) => channel.toString(16).padStart(2, '0')).join('');
    const pad = (padded: readonly number[]) => `pad=${padded.join(':')}:${turn(before, 0).join(':')}:color=0x${color}`;
    if (long * long <= LARGE) return made([long, long], pad([long, long]), bicubic(long, size, size));
    const padded = turn(long, size);
    return made(
      padded,
      ...bicubicSteps(width, height, ...turn(short, size)),
      pad(padded),
      ...bicubicSteps(...padded, size, size),
    );
  }
  const resized = Math.floor((shortestEdge * long) / short);
  const crop = (before: number) =>
    `crop=${size}:${size}:${turn(Math.floor((shortestEdge - size) / 2), before).join(':')}`;
  const offset = Math.floor((resized - size) / 2);
  const whole = turn(shortestEdge, resized);
  if (shortestEdge * resized <= LARGE) return made(whole, bicubic(width, ...whole), crop(offset));

  // Only the part that is wanted, from a place in the stored picture that falls on a whole pixel of the result.
  const scale = shortestEdge / short;
  const margin = 2 + Math.ceil(2 / scale);
  const squares = Math.max(0, Math.floor((offset / scale - margin) / short));
  const end = Math.min(long, Math.ceil((offset + size) / scale) + margin);
  const length = end - squares * short;
  const [cut, part] = [turn(short, length), turn(shortestEdge, Math.floor(length * scale))];
  return made(
    part,
    // Frames of other sizes are scaled to that of the first one.
    `scale=${width}:${height}:flags=neighbor`,
    `crop=${cut.join(':')}:${turn(0, squares * short).join(':')}:exact=1`,
    bicubic(cut[0], ...part),
    crop(offset - squares * shortestEdge),
  );
}

function squashedSize({ size, width = size, height = size }: Exclude<FrameGeometry, string>) {
  return { width, height };
}

/** In one step, ffmpeg refuses to shrink a side by more than this, or gets its colours wrong. */
const STEP = 40;

type Filter = Exclude<SquashFilter, 'nearest'>;

type Step = (fromWidth: number, width: number, height: number) => string;

function steps(step: Step, width: number, height: number, toWidth: number, toHeight: number): string[] {
  const [w, h] = [Math.max(toWidth, Math.ceil(width / STEP)), Math.max(toHeight, Math.ceil(height / STEP))];
  const last = w === toWidth && h === toHeight;
  return [step(width, w, h), ...(last ? [] : steps(step, w, h, toWidth, toHeight))];
}

function bicubicSteps(width: number, height: number, toWidth: number, toHeight: number): string[] {
  return steps(bicubic, width, height, toWidth, toHeight);
}

/**
 * To half of its width or less, ffmpeg shrinks a picture with every other colour left out: by 1.6 of 255 on average in a picture
 * with fine colours, and by 4 where its width is odd, as the colours are then shifted. CLIP's frames, which answers have been
 * compared on, stay as they were where the width is even.
 */
function bicubic(fromWidth: number, width: number, height: number): string {
  return fromWidth % 2 === 1 ? inAllColors('bicubic')(fromWidth, width, height) : scaled('bicubic', width, height);
}

function inAllColors(filter: Filter): Step {
  return (_, width, height) => `${scaled(filter, width, height)}+full_chroma_inp`;
}

/** Closest to Pillow's antialiased filters, and only if applied to RGB: bicubic differs by 0.35 of 255 on average. */
function scaled(filter: Filter, width: number, height: number): string {
  return `scale=${width}:${height}:flags=${filter}+accurate_rnd`;
}
