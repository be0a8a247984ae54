// Pictures as a list of shapes along the axes, which become SVG in svg.ts and pixels in ../paint.

/** A colour as CSS, with what it is where no style sheet says otherwise, red, green and blue from 0 to 255. */
export type Color = { readonly css: string; readonly rgb: readonly [number, number, number] };

export type Rect = { readonly x: number; readonly y: number; readonly width: number; readonly height: number };

export type Shape =
  | (Rect & { readonly kind: 'rect'; readonly color: Color; readonly opacity?: number; readonly radius?: number })
  /** Rectangles of one colour. `token`: what they belong to, for a page that wants to point them out. */
  | {
      readonly kind: 'rects';
      readonly rects: readonly Rect[];
      readonly color: Color;
      readonly opacity?: number;
      readonly token?: number;
    }
  /** A frame of the video: `frame` is its number among all frames. */
  | (Rect & { readonly kind: 'image'; readonly href: string; readonly frame: number })
  | {
      readonly kind: 'text';
      /** Where the text stands on its base line: at its start, or its middle, or its end. */
      readonly x: number;
      readonly y: number;
      readonly text: string;
      readonly size: number;
      readonly anchor?: 'start' | 'middle' | 'end';
      readonly bold?: boolean;
      readonly color: Color;
      readonly opacity?: number;
    }
  | {
      readonly kind: 'group';
      readonly x: number;
      readonly y: number;
      readonly shapes: readonly Shape[];
      /** What it is, for whoever points at it. */
      readonly title?: string;
      /** Where it leads. */
      readonly href?: string;
    };

/** A picture, in pixels. */
export type Scene = {
  readonly width: number;
  readonly height: number;
  /** What it is, in some words. */
  readonly title: string;
  /** What is to be seen, for those who do not see it. */
  readonly description: string;
  readonly shapes: readonly Shape[];
};

/** Text and lines. Pages set their own by `color`. */
export const ink: Color = { css: 'currentColor', rgb: [27, 31, 36] };
/** Local tokens: CSS may set `--inspect-local`. */
export const localColor: Color = { css: 'var(--inspect-local, #3d7fd9)', rgb: [61, 127, 217] };
/** Global tokens: CSS may set `--inspect-global`. */
export const globalColor: Color = { css: 'var(--inspect-global, #d9822b)', rgb: [217, 130, 43] };
/** Text of the prompt: CSS may set `--inspect-text`. */
export const textColor: Color = { css: 'var(--inspect-text, #8a94a3)', rgb: [138, 148, 163] };
export const black: Color = { css: '#000', rgb: [0, 0, 0] };
export const white: Color = { css: '#fff', rgb: [255, 255, 255] };

const goldenAngle = 137.508;

/** The colour of a token among those of its segment: neighbours differ. */
export function tokenColor(token: number): Color {
  const hue = (token * goldenAngle + 205) % 360;
  const light = [0.56, 0.66, 0.47][token % 3]!;
  const rgb = [0, 8, 4].map((offset) => hslChannel(hue, 0.78, light, offset)) as [number, number, number];
  return { css: `#${rgb.map((value) => value.toString(16).padStart(2, '0')).join('')}`, rgb };
}

/** A channel of a colour by hue in degrees, saturation and lightness from 0 to 1. */
function hslChannel(hue: number, saturation: number, light: number, offset: number): number {
  const k = (offset + hue / 30) % 12;
  const most = saturation * Math.min(light, 1 - light);
  return Math.round(255 * (light - most * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
}

/** How wide a text is, about: letters of common fonts take half of their size and a little more. */
export function textWidth(text: string, size: number): number {
  return [...text].length * size * 0.56;
}

/** Of `count` things that share a width, one in how many has room for its number. */
export function labelledEvery(count: number, width: number, size = 11): number {
  return Math.max(1, Math.ceil(((textWidth(String(count), size) + 5) * count) / width));
}

/** `text`, or its beginning, within a width. */
export function fitted(text: string, size: number, width: number): string {
  if (textWidth(text, size) <= width) return text;
  const most = Math.max(1, Math.floor(width / (size * 0.56)) - 1);
  return `${[...text].slice(0, most).join('')}…`;
}

/** A text in lines within a width, cut between words: narrow enough for wide fonts. */
export function wrapped(text: string, size: number, width: number): string[] {
  const most = Math.max(1, Math.floor(width / (size * 0.63)));
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const longer = `${lines.at(-1) ?? ''} ${word}`;
    if (lines.length > 0 && longer.length <= most) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/** `0:07`, or `1:02:03` from an hour on; with tenths of a second for short videos. */
export function timeText(seconds: number, tenths = false): string {
  const whole = tenths ? Math.floor(seconds * 10 + 1e-6) / 10 : Math.floor(seconds + 1e-6);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const shown = tenths ? rest.toFixed(1).padStart(4, '0') : String(Math.floor(rest)).padStart(2, '0');
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${shown}` : `${minutes}:${shown}`;
}

/** A number with its noun. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${withCommas(count)} ${count === 1 ? one : many}`;
}

/** `12,345`. */
export function withCommas(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}
