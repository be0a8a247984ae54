// Finds out whether pictures are encrypted. ffmpeg decodes what it has no key for to noise, or leaves it out, without a word.
import { LongVLMError } from '../base/errors.js';
import type { InputFile } from './inputFile.js';
import { findInFile, type ReadAt } from './readAt.js';
import type { InputDescription } from './streamInfo.js';

/** More boxes than any file has before the end of its header. */
const MAX_BOXES = 10_000;
/** Boxes on the way to the descriptions of samples. */
const PARENTS = new Set(['moov', 'trak', 'mdia', 'minf', 'stbl']);
/** How encrypted pictures are called there: by Common Encryption, and by iTunes. */
const ENCRYPTED = new Set(['encv', 'drmi']);
/** How much of a transport stream is looked at, and how far apart its packets may begin. */
const TRANSPORT_BYTES = 2 ** 20;
const STRIDES = [188, 192, 204];

/**
 * @param foundPictures Whether ffmpeg found some: it leaves out what is scrambled.
 * @throws LongVLMError `ERR_LONGVLM_VIDEO` for a file whose pictures are encrypted
 */
export async function checkNotEncrypted(
  { path, name }: InputFile,
  { container, encrypted }: InputDescription,
  foundPictures: boolean,
): Promise<void> {
  const found =
    encrypted ||
    (/\bmp4\b/.test(container) && (await findInFile(path, false, hasEncryptedSamples))) ||
    (container === 'mpegts' && !foundPictures && (await findInFile(path, false, isScrambled)));
  if (found)
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `'${name}' is encrypted: its pictures cannot be decoded. Give a copy without copy protection.`,
    );
}

/** Whether a track of an MP4 file has encrypted pictures. */
async function hasEncryptedSamples(readAt: ReadAt): Promise<boolean> {
  let boxes = 0;
  const search = async (start: number, end: number, parent: string): Promise<boolean> => {
    let at = start;
    while (at + 8 <= end && boxes++ < MAX_BOXES) {
      const head = await readAt(at, 16);
      if (head.length < 8) return false;
      const type = head.toString('latin1', 4, 8);
      const short = head.readUInt32BE();
      const length = short === 1 ? Number(head.readBigUInt64BE(8)) : short === 0 ? end - at : short;
      if (length < 8) return false;
      if (parent === 'stsd' && ENCRYPTED.has(type)) return true;
      const inner = at + (short === 1 ? 16 : 8);
      // Of a description of samples come the version and the number of entries first.
      const first = type === 'stsd' ? inner + 8 : PARENTS.has(type) ? inner : undefined;
      if (first !== undefined && (await search(first, Math.min(at + length, end), type))) return true;
      if (type === 'moov') return false;
      at += length;
    }
    return false;
  };
  return search(0, Number.MAX_SAFE_INTEGER, '');
}

/** Whether a transport stream has scrambled packets. */
async function isScrambled(readAt: ReadAt): Promise<boolean> {
  const bytes = await readAt(0, TRANSPORT_BYTES);
  const start = bytes.indexOf(0x47);
  const stride = STRIDES.find((each) => [1, 2, 3].every((i) => bytes[start + i * each] === 0x47));
  if (start < 0 || stride === undefined) return false;
  for (let at = start; at + 4 <= bytes.length && bytes[at] === 0x47; at += stride)
    if (bytes[at + 3]! & 0xc0) return true;
  return false;
}
