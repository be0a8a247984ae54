// Reads the orientation that cameras write into pictures. Not every ffmpeg does, and not for every format.
import { findInFile, type ReadAt } from './readAt.js';

const ORIENTATION = 0x0112;
/** More parts than any picture has before its EXIF data. */
const MAX_PARTS = 10_000;

/** The orientation of a JPEG, PNG, WebP or TIFF file, 1 to 8; 1 if it has none. */
export function readOrientation(path: string): Promise<number> {
  return findInFile(path, 1, async (readAt) => {
    const start = await findTiff(readAt);
    return start === undefined ? 1 : orientationAt(readAt, start);
  });
}

/** Where the TIFF data begins that holds the orientation. */
async function findTiff(readAt: ReadAt): Promise<number | undefined> {
  const head = await readAt(0, 12);
  if (head.readUInt16BE() === 0xffd8) return findInJpeg(readAt);
  if (head.readUInt32BE() === 0x89504e47)
    return findChunk(
      readAt,
      8,
      (chunk) => ({ type: chunk.toString('latin1', 4, 8), length: chunk.readUInt32BE() + 4 }),
      'eXIf',
    );
  if (head.toString('latin1', 0, 4) === 'RIFF' && head.toString('latin1', 8, 12) === 'WEBP') {
    const padded = (length: number) => length + (length % 2);
    const found = await findChunk(
      readAt,
      12,
      (chunk) => ({ type: chunk.toString('latin1', 0, 4), length: padded(chunk.readUInt32LE(4)) }),
      'EXIF',
    );
    // Some programs write JPEG's mark there, too.
    const marked = found !== undefined && (await readAt(found, 6)).toString('latin1') === 'Exif\0\0';
    return marked ? found + 6 : found;
  }
  return ['II*\0', 'MM\0*'].includes(head.toString('latin1', 0, 4)) ? 0 : undefined;
}

async function findInJpeg(readAt: ReadAt): Promise<number | undefined> {
  let at = 2;
  for (let part = 0; part < MAX_PARTS; part++) {
    const head = await readAt(at, 10);
    const [mark, type] = [head.readUInt8(0), head.readUInt8(1)];
    if (mark !== 0xff || type === 0xda || type === 0xd9) return undefined;
    if (type === 0xff) at++;
    else if (type === 0xe1 && head.toString('latin1', 4, 10) === 'Exif\0\0') return at + 10;
    else at += 2 + head.readUInt16BE(2);
  }
  return undefined;
}

/** Where the content of the first chunk called `wanted` begins. */
async function findChunk(
  readAt: ReadAt,
  first: number,
  parse: (head: Buffer) => { type: string; length: number },
  wanted: string,
): Promise<number | undefined> {
  let at = first;
  for (let part = 0; part < MAX_PARTS; part++) {
    const head = await readAt(at, 8);
    if (head.length < 8) return undefined;
    const { type, length } = parse(head);
    if (type === wanted) return at + 8;
    at += 8 + length;
  }
  return undefined;
}

async function orientationAt(readAt: ReadAt, start: number): Promise<number> {
  const head = await readAt(start, 8);
  const little = head.toString('latin1', 0, 2) === 'II';
  const int16 = (bytes: Buffer, at: number) => (little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at));
  const directory = start + (little ? head.readUInt32LE(4) : head.readUInt32BE(4));
  const entries = await readAt(directory + 2, 12 * int16(await readAt(directory, 2), 0));
  for (let at = 0; at + 12 <= entries.length; at += 12)
    if (int16(entries, at) === ORIENTATION) {
      const value = int16(entries, at + 8);
      return value >= 1 && value <= 8 ? value : 1;
    }
  return 1;
}
