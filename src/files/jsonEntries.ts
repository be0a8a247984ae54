// Reads large JSON objects entry by entry: parsed as a whole, a hostile one takes fifty times its size in memory, and nothing
// else runs meanwhile.

const [quote, backslash, comma, colon] = [0x22, 0x5c, 0x2c, 0x3a];
const [openList, closeList, openObject, closeObject] = [0x5b, 0x5d, 0x7b, 0x7d];

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** The value of JSON in UTF-8. @throws SyntaxError, TypeError */
export function parseJson(bytes: Uint8Array): unknown {
  return JSON.parse(utf8.decode(bytes));
}

const maxKeyBytes = 4096;
const maxSpaces = 1 << 20;

/** What a value may have at most. */
export type JsonLimits = { readonly items: number; readonly bytes: number };

/** An entry of an object: its key, and its value as JSON. */
export type JsonEntry = { readonly key: string; readonly value: Uint8Array };

/**
 * The entries of the JSON object in `bytes`, in order. Keys may occur twice. Values were not parsed yet: they may be anything
 * with brackets in pairs.
 *
 * @param limitsOf how many brackets and commas, and bytes, the value of a key may have
 * @throws SyntaxError, TypeError for what is no object; RangeError for a larger value or key
 */
export function* jsonEntries(bytes: Uint8Array, limitsOf: (key: string) => JsonLimits): Generator<JsonEntry> {
  let at = skipSpace(bytes, 0);
  at = skipSpace(bytes, after(bytes, at, openObject));
  if (bytes[at] !== closeObject)
    for (;;) {
      const keyEnd = stringEnd(bytes, after(bytes, at, quote), maxKeyBytes);
      const key = parseJson(bytes.subarray(at, keyEnd)) as string;
      const start = skipSpace(bytes, after(bytes, skipSpace(bytes, keyEnd), colon));
      const end = valueEnd(bytes, start, limitsOf(key));
      yield { key, value: bytes.subarray(start, end) };
      at = skipSpace(bytes, end);
      if (bytes[at] === closeObject) break;
      at = skipSpace(bytes, after(bytes, at, comma));
    }
  if (skipSpace(bytes, at + 1) < bytes.length) throw new SyntaxError('text after the end');
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
      if (depth === 0 && (byte === comma || byte === closeObject)) return at;
      if (byte === openList || byte === openObject) depth++;
      else if (byte === closeList || byte === closeObject) depth--;
      if ((byte === comma || byte === openList || byte === openObject) && ++items > limits.items)
        throw new RangeError(`a value with more than ${limits.items} items`);
      at++;
    }
    if (at - start > limits.bytes) throw new RangeError(`a value of more than ${limits.bytes} bytes`);
    if (depth < 0) throw new SyntaxError('a bracket too many');
  }
  throw new SyntaxError('a value without an end');
}
