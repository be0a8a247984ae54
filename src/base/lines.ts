// Text files that may be long, or not what they should be: read line by line, while other work goes on.
import { LongVLMError } from '../base/errors.js';
import { fileError } from '../base/fileError.js';
import { openRegularFile } from '../base/regularFile.js';

/** A line of a file, counted from 1. */
export type Line = {
  readonly number: number;
  readonly bytes: Uint8Array;
  /** The first byte after it. */
  readonly end: number;
  /** Whether it ends in a line break; only the last one of a file may not. */
  readonly isWhole: boolean;
};

const pieceBytes = 1 << 15;
/** Longer than any question with its answer. */
const maxLineBytes = 1 << 20;
/** Longer than any data set: what is read stays in memory. */
const maxFileBytes = 1 << 29;

/**
 * The lines of a file, without their `\n`.
 * @param longest the most bytes of a line. Defaults to 1 MiB
 * @throws LongVLMError `ERR_LONGVLM_FILE` when it cannot be read, `ERR_LONGVLM_DATASET` when a line is too long, or the file too
 *   large; `signal.reason`
 */
export async function* readLines(
  file: string,
  signal?: AbortSignal,
  longest: number = maxLineBytes,
): AsyncGenerator<Line, void, void> {
  const handle = await openRegularFile(file);
  try {
    let number = 0;
    let position = 0;
    /** The beginning of a line whose end was not read yet. */
    let pieces: Buffer[] = [];
    let begun = 0;
    for (;;) {
      signal?.throwIfAborted();
      const piece = Buffer.alloc(pieceBytes);
      const { bytesRead } = await handle.read(piece, 0, pieceBytes, position).catch((error: unknown) => {
        throw fileError(file, error);
      });
      const bytes = piece.subarray(0, bytesRead);
      if (position + bytesRead > maxFileBytes) throw unusable(`${file} is above ${maxFileBytes >> 20} MiB. Split it.`);
      let start = 0;
      for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
        const line = Buffer.concat([...pieces, bytes.subarray(start, end)]);
        pieces = [];
        yield { number: ++number, bytes: line, end: position + end + 1, isWhole: true };
        start = end + 1;
      }
      begun = (pieces.length === 0 ? 0 : begun) + bytesRead - start;
      position += bytesRead;
      if (begun > longest)
        throw unusable(`${file}, line ${number + 1}: the line is above ${longest >> 20} MiB. Give a JSON Lines file.`);
      if (bytesRead > 0) {
        if (start < bytesRead) pieces.push(bytes.subarray(start));
        continue;
      }
      if (begun > 0) yield { number: ++number, bytes: Buffer.concat(pieces), end: position, isWhole: false };
      return;
    }
  } finally {
    await handle.close();
  }
}

/** A line's text. @throws LongVLMError `ERR_LONGVLM_DATASET` when it is not in UTF-8 */
export function textOf(file: string, { number, bytes }: Line): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw unusable(`${file}, line ${number}: the line is no UTF-8 text. Give a JSON Lines file.`, error);
  }
}

function unusable(message: string, cause?: unknown): LongVLMError {
  return new LongVLMError('ERR_LONGVLM_DATASET', message, { cause });
}
