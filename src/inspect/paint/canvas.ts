// What scenes are painted on: rectangles, pictures and letters on opaque pixels.
import type { Color } from '../draw/scene.js';
import type { Picture } from '../jpeg.js';
import { glyphOf, glyphSize } from './font.js';

type Rgb = Color['rgb'];

/** Opaque pixels, white at first. Places are pixels, whole or not. */
export class Canvas implements Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;

  constructor(width: number, height: number) {
    this.width = width;
    this.height = height;
    this.data = new Uint8Array(width * height * 3).fill(255);
  }

  /** @param opacity from 0 to 1. `radius`: of its corners */
  rect(x: number, y: number, width: number, height: number, color: Rgb, opacity: number, radius = 0): void {
    const round = Math.min(radius, width / 2, height / 2);
    this.#each(x, y, width, height, (column, row, at) => {
      const covered = span(column, x, x + width) * span(row, y, y + height);
      this.#blend(at, color, opacity * covered * (round > 0 ? corner(column, row, x, y, width, height, round) : 1));
    });
  }

  /** A picture, stretched over a rectangle. */
  picture(x: number, y: number, width: number, height: number, picture: Picture): void {
    this.#each(x, y, width, height, (column, row, at) => {
      const u = ((column + 0.5 - x) / width) * picture.width - 0.5;
      const v = ((row + 0.5 - y) / height) * picture.height - 0.5;
      const covered = span(column, x, x + width) * span(row, y, y + height);
      for (let channel = 0; channel < 3; channel++) {
        const value = sample(picture.data, picture.width, picture.height, 3, channel, u, v);
        this.data[at + channel] = Math.round(this.data[at + channel]! * (1 - covered) + value * covered);
      }
    });
  }

  /**
   * A line of text.
   * @param y of its base line
   */
  text(x: number, y: number, text: string, size: number, color: Rgb, opacity: number, bold: boolean): void {
    const scale = size / glyphSize;
    let at = x;
    for (const character of text) {
      const glyph = glyphOf(character);
      const [left, top] = [at + glyph.left * scale, y - glyph.top * scale];
      const [width, height] = [glyph.width * scale, glyph.height * scale];
      if (glyph.width > 0)
        this.#each(left - 1, top - 1, width + 2, height + 2, (column, row, place) => {
          const u = (column + 0.5 - left) / scale - 0.5;
          const v = (row + 0.5 - top) / scale - 0.5;
          let dark = inside(glyph, u, v);
          // Letters have one weight: bold ones are drawn wider.
          if (bold) dark = Math.min(1, dark + 0.8 * inside(glyph, u - glyphSize / 28, v));
          this.#blend(place, color, opacity * dark);
        });
      at += glyph.advance * scale;
    }
  }

  #each(x: number, y: number, width: number, height: number, visit: (column: number, row: number, at: number) => void) {
    const [left, right] = [Math.max(0, Math.floor(x)), Math.min(this.width, Math.ceil(x + width))];
    const [top, bottom] = [Math.max(0, Math.floor(y)), Math.min(this.height, Math.ceil(y + height))];
    for (let row = top; row < bottom; row++)
      for (let column = left; column < right; column++) visit(column, row, (row * this.width + column) * 3);
  }

  #blend(at: number, color: Rgb, opacity: number): void {
    if (opacity <= 0) return;
    for (let channel = 0; channel < 3; channel++)
      this.data[at + channel] = Math.round(this.data[at + channel]! * (1 - opacity) + color[channel]! * opacity);
  }
}

/** How wide a line of text is. */
export function widthOf(text: string, size: number): number {
  return [...text].reduce((sum, character) => sum + glyphOf(character).advance, 0) * (size / glyphSize);
}

/** How much of a pixel is between two edges. */
function span(pixel: number, from: number, to: number): number {
  return Math.max(0, Math.min(pixel + 1, to) - Math.max(pixel, from));
}

/** How much of a pixel is inside of round corners. */
function corner(column: number, row: number, x: number, y: number, width: number, height: number, radius: number) {
  const across = Math.max(x + radius - column - 0.5, column + 0.5 - (x + width - radius), 0);
  const down = Math.max(y + radius - row - 0.5, row + 0.5 - (y + height - radius), 0);
  if (across === 0 || down === 0) return 1;
  return Math.min(1, Math.max(0, radius - Math.hypot(across, down) + 0.5));
}

function sample(
  data: Uint8Array,
  width: number,
  height: number,
  channels: number,
  channel: number,
  u: number,
  v: number,
): number {
  const [x, y] = [Math.floor(u), Math.floor(v)];
  const [right, below] = [u - x, v - y];
  const value = (column: number, row: number) =>
    data[
      (Math.min(height - 1, Math.max(0, row)) * width + Math.min(width - 1, Math.max(0, column))) * channels + channel
    ]!;
  return (
    (value(x, y) * (1 - right) + value(x + 1, y) * right) * (1 - below) +
    (value(x, y + 1) * (1 - right) + value(x + 1, y + 1) * right) * below
  );
}

/** How dark a letter is at a place, 0 to 1; nothing is beyond its edges. */
function inside({ width, height, data }: Pick<Picture, 'width' | 'height' | 'data'>, u: number, v: number): number {
  const [x, y] = [Math.floor(u), Math.floor(v)];
  const [right, below] = [u - x, v - y];
  const value = (column: number, row: number) =>
    column < 0 || row < 0 || column >= width || row >= height ? 0 : data[row * width + column]!;
  return (
    ((value(x, y) * (1 - right) + value(x + 1, y) * right) * (1 - below) +
      (value(x, y + 1) * (1 - right) + value(x + 1, y + 1) * right) * below) /
    15
  );
}
