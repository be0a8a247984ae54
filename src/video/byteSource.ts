import { Readable } from 'node:stream';
import { types } from 'node:util';
import { raceAbort } from '../base/abort.js';
import { reasonOf } from '../base/errors.js';
import { checkFunction, checkObject, isCallable, wrongType } from '../base/validate.js';
import type { FetchBudget } from './fetchBudget.js';

/** A source of bytes that are read in chunks. */
export interface ByteSource {
  /** Total number of bytes; 0 if unknown. */
  readonly total: number;
  /** Whether something of a stream was read before. */
  readonly used?: boolean;
  /** Reads the next chunk; undefined at the end. */
  read(): Promise<Uint8Array | undefined>;
  /** Cancels the source. Does not wait and does not throw. */
  cancel(): void;
}

const PIECE = 1 << 20;

/** Bytes in memory. */
export function memorySource(bytes: Uint8Array): ByteSource {
  let at = 0;
  return {
    total: bytes.length,
    async read() {
      const piece = bytes.subarray(at, at + PIECE);
      at += piece.length;
      return piece.length > 0 ? piece : undefined;
    },
    cancel() {},
  };
}

/** Reads a web stream, which gets locked. @throws TypeError when it is locked already */
export function webSource(stream: ReadableStream<Uint8Array>, total = 0): ByteSource {
  const used = Readable.isDisturbed(stream as unknown as NodeJS.ReadableStream);
  const reader = stream.getReader();
  return {
    total,
    used,
    async read() {
      const { value, done } = await reader.read();
      return done ? undefined : value;
    },
    cancel: () => void reader.cancel().catch(() => {}),
  };
}

/** A stream of Node's kind. It is destroyed when it is not read to its end. */
export function nodeSource(stream: AsyncIterable<unknown> & Partial<NodeJS.ReadableStream>): ByteSource {
  // The iterator hears of a failure only when it is asked; until then nobody would, and Node would end.
  if (isCallable(stream.on)) stream.on('error', () => {});
  const used = Readable.isDisturbed(stream as unknown as NodeJS.ReadableStream);
  const pieces = checkObject('the iterator of the stream', stream[Symbol.asyncIterator]());
  checkFunction('next() of the stream', pieces.next);
  return {
    total: 0,
    used,
    async read() {
      const { value, done } = checkObject('what next() of the stream gave', await pieces.next());
      return done ? undefined : (value as Uint8Array);
    },
    cancel: () => (stream as { destroy?(): void }).destroy?.(),
  };
}

/**
 * Reads the chunks of `source` within the limits of `budget`.
 *
 * @param onBytes Called after each chunk and at the end, with the number of bytes received so far.
 * @throws LongVLMError `ERR_LONGVLM_FETCH` when the source fails or a limit is exceeded; `budget.signal.reason`.
 */
export async function* readWithin(
  source: ByteSource,
  budget: FetchBudget,
  onBytes: (bytes: number, ended: boolean) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  budget.checkRoom(source.total);
  let bytes = 0;
  for (;;) {
    const piece = await nextPiece(source, budget);
    if (piece === undefined) break;
    if (!types.isUint8Array(piece)) wrongType('a piece of the stream', 'Uint8Array', piece);
    budget.spend(piece.length);
    bytes += piece.length;
    yield piece;
    onBytes(bytes, false);
  }
  if (bytes === 0 && source.used)
    throw budget.error('is a stream that was read before', 'Give a new stream: one gives its bytes once.');
  onBytes(bytes, true);
}

async function nextPiece(source: ByteSource, budget: FetchBudget): Promise<Uint8Array | undefined> {
  const { signal } = budget;
  try {
    return await raceAbort(source.read(), signal);
  } catch (error) {
    signal.throwIfAborted();
    throw budget.error(`broke off: ${reasonOf(error)}`, 'Try again.', error);
  }
}
