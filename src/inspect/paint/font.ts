// Letters as small pictures, for paintings: read from letters.ts when they are first needed.
import { inflateSync } from 'node:zlib';
import { letters } from './letters.js';

/** A letter: `width` by `height` values from 0 to 15, `left` of where it stands and its upper edge `top` above the base line. */
export type Glyph = {
  readonly width: number;
  readonly height: number;
  readonly left: number;
  readonly top: number;
  /** To the next letter. */
  readonly advance: number;
  readonly data: Uint8Array;
};

/** The size that letters were drawn in, in pixels. */
export const glyphSize = 28;

let glyphs: ReadonlyMap<string, Glyph> | undefined;

/** The picture of a letter; one without its accents where that is missing, and a box for all others. */
export function glyphOf(character: string): Glyph {
  glyphs ??= readLetters();
  const plain = () => character.normalize('NFKD').replace(/\p{M}/gu, '');
  return glyphs.get(character) ?? glyphs.get(plain()) ?? glyphs.get('\u25a1')!;
}

/**
 * For each letter its code (2 bytes), what it advances in quarters of a pixel, where it begins (signed), its top (signed), width and
 * height, a byte each, then its values, two in a byte, the first one in the upper half.
 */
function readLetters(): ReadonlyMap<string, Glyph> {
  const bytes = inflateSync(Buffer.from(letters, 'base64'));
  const found = new Map<string, Glyph>();
  for (let at = 0; at < bytes.length; ) {
    const [width, height] = [bytes[at + 5]!, bytes[at + 6]!];
    const data = new Uint8Array(width * height);
    for (let i = 0; i < data.length; i++) {
      const both = bytes[at + 7 + (i >> 1)]!;
      data[i] = i % 2 === 0 ? both >> 4 : both & 15;
    }
    found.set(String.fromCharCode(bytes.readUInt16LE(at)), {
      ...{ width, height, data, advance: bytes[at + 2]! / 4 },
      ...{ left: bytes.readInt8(at + 3), top: bytes.readInt8(at + 4) },
    });
    at += 7 + Math.ceil(data.length / 2);
  }
  return found;
}
