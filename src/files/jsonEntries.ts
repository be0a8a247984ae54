// Reads large JSON objects entry by entry: parsed as a whole, a hostile one takes fifty times its size in memory, and nothing
// else runs meanwhile.
import { Pace } from '../base/pace.js';

const [quote, backslash, comma, colon] = [0x22, 0x5c, 0x2c, 0x3a];
const [openList, closeList, openObject, closeObject] = [0x5b, 0x5d, 0x7b, 0x7d];

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** The value of JSON in UTF-8. @throws SyntaxError, TypeError */
export function parseJson(bytes: Uint8Array): unknown {
  return JSON.parse(utf8.decode(bytes));
}

const maxKeyBytes = 4096;
const maxSpaces = 1 << 20;
const entriesAtOnce = 64;
const bytesAtOnce = 1 << 16;

/** What a value may have at most. */
export type JsonLimits = { readonly items: number; readonly bytes: number };

/** An entry of an object: its key, and its value as JSON. */
export type JsonEntry = {
  readonly key: string;
  readonly value: Uint8Array;
  /** The key of the object or list that it is in; undefined for the outer one. Items of a list have no key. */
  readonly within: string | undefined;
};

/** Of a value that is no object or list, where one is due. */
const plainLimits: JsonLimits = { items: 1000, bytes: 1 << 16 };

/**
 * The entries of the JSON object in `bytes`, in order, found in short turns. Keys may occur twice. Values were not parsed yet:
 * they may be anything with brackets in pairs.
 *
 * @param limitsOf how many brackets and commas, and bytes, the value of a key may have; 'entries' for an object, and
 * 'items' for a list, whose own ones are given in its place
 * @throws SyntaxError, TypeError for what is no object; RangeError for a larger value or key
 */
export async function* jsonEntries(
  bytes: Uint8Array,
  limitsOf: (key: string, within: string | undefined) => JsonLimits | 'entries' | 'items',
): AsyncGenerator<JsonEntry, void, void> {
  const pace = new Pace();
  let within: string | undefined;
  let at = skipSpace(bytes, after(bytes, skipSpace(bytes, 0), openObject));
  let [open, close] = [openObject, closeObject];
  let isEnd = bytes[at] === close;
  let rested = 0;
  for (let seen = 1; ; seen++) {
    if ((seen % entriesAtOnce === 0 || at - rested > bytesAtOnce) && pace.isDue) {
      rested = at;
      await pace.rest();
    }
    if (isEnd) {
      at = skipSpace(bytes, at + 1);
      if (within === undefined) break;
      within = undefined;
      [open, close] = [openObject, closeObject];
    } else {
      let [key, start] = ['', at];
      if (open === openObject) {
        const keyEnd = stringEnd(bytes, after(bytes, at, quote), maxKeyBytes);
        key = parseJson(bytes.subarray(at, keyEnd)) as string;
        start = skipSpace(bytes, after(bytes, skipSpace(bytes, keyEnd), colon));
      }
      const limits = limitsOf(key, within);
      if (limits === opens(bytes[start]) && within === undefined) {
        within = key;
        [open, close] = bytes[start] === openList ? [openList, closeList] : [openObject, closeObject];
        at = skipSpace(bytes, start + 1);
        isEnd = bytes[at] === close;
        continue;
      }
      const end = valueEnd(bytes, start, typeof limits === 'string' ? plainLimits : limits);
      yield { key, value: bytes.subarray(start, end), within };
      at = skipSpace(bytes, end);
    }
    isEnd = bytes[at] === close;
    if (!isEnd) at = skipSpace(bytes, after(bytes, at, comma));
  }
  if (at < bytes.length) throw new SyntaxError('text after the end');
}

function opens(byte: number | undefined): 'entries' | 'items' | undefined {
  return byte === openObject ? 'entries' : byte === openList ? 'items' : undefined;
}

function after(bytes: Uint8Array, at: number, wanted: number): number {
  if (bytes[at] !== wanted) throw new SyntaxError(`no ${String.fromCharCode(wanted)} at byte ${at}`);
  return at + 1;
}

function skipSpace(bytes: Uint8Array, start: number): number {
  let at = start;
  for (let byte = bytes[at]; byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09; byte = bytes[at])
    if (++at - start > maxSpaces) throw new RangeError(`more than ${maxSpaces} spaces`);
  return at;
}

/** @param start behind the opening quote @returns the place behind the closing one */
function stringEnd(bytes: Uint8Array, start: number, maxBytes: number): number {
  const end = Math.min(bytes.length, start + maxBytes);
  for (let at = start; at < end; at++) {
    const byte = bytes[at];
    if (byte === quote) return at + 1;
    if (byte === backslash) at++;
  }
  if (end < bytes.length) throw new RangeError(`a text of more than ${maxBytes} bytes`);
  throw new SyntaxError('a string without an end');
}

function valueEnd(bytes: Uint8Array, start: number, limits: JsonLimits): number {
  let depth = 0;
  let items = 0;
  for (let at = start; at < bytes.length; ) {
    const byte = bytes[at]!;
    if (byte === quote) at = stringEnd(bytes, at + 1, limits.bytes);
    else {
      if (depth === 0 && (byte === comma || byte === closeObject || byte === closeList)) return at;
      if (byte === openList || byte === openObject) depth++;
      else if (byte === closeList || byte === closeObject) depth--;
      if ((byte === comma || byte === openList || byte === openObject) && ++items > limits.items)
        throw new RangeError(`a value with more than ${limits.items} items`);
      at++;
    }
    if (at - start > limits.bytes) throw new RangeError(`a value of more than ${limits.bytes} bytes`);
  }
  throw new SyntaxError('a value without an end');
}
