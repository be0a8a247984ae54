// Changes to files: of bytes, and of JSON as a tree.
import type { Random } from './random.js';

type Change = (bytes: Buffer, at: number, random: Random) => Buffer;

/** Overwrites a number of `size` bytes with one that programs get wrong. */
export function writeEdge(bytes: Buffer, at: number, size: number, littleEndian: boolean, random: Random): void {
  const fits = Math.min(size, bytes.length - at);
  let value = BigInt(random.edge());
  if (random.chance(0.2)) value = -value - 1n;
  for (let i = 0; i < fits; i++) {
    const place = littleEndian ? at + i : at + fits - 1 - i;
    bytes[place] = Number(value & 0xffn);
    value >>= 8n;
  }
}

const lengthAt = (bytes: Buffer, at: number, random: Random) =>
  random.between(1, Math.max(1, Math.min(bytes.length - at, random.pick([1, 4, 16, 64, 1024]))));

const withoutRange = (bytes: Buffer, from: number, length: number): Buffer =>
  Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + length)]);

const inserted = (bytes: Buffer, at: number, what: Uint8Array): Buffer =>
  Buffer.concat([bytes.subarray(0, at), what, bytes.subarray(at)]);

const changes: readonly Change[] = [
  (bytes, at, random) => {
    bytes[at]! ^= 1 << random.below(8);
    return bytes;
  },
  (bytes, at, random) => {
    bytes[at] = random.below(256);
    return bytes;
  },
  (bytes, at, random) => {
    writeEdge(bytes, at, random.pick([1, 2, 4, 8]), random.chance(0.5), random);
    return bytes;
  },
  (bytes, at, random) => {
    bytes[at] = (bytes[at]! + random.between(-3, 3)) & 0xff;
    return bytes;
  },
  (bytes, at, random) => withoutRange(bytes, at, lengthAt(bytes, at, random)),
  (bytes, at, random) => inserted(bytes, at, bytes.subarray(at, at + lengthAt(bytes, at, random))),
  (bytes, at, random) => bytes.fill(random.pick([0, 0xff]), at, at + lengthAt(bytes, at, random)),
  (bytes, at, random) => inserted(bytes, at, random.bytes(random.between(1, 16))),
  (bytes, at, random) => {
    const from = random.below(bytes.length);
    bytes.copy(bytes, at, from, from + lengthAt(bytes, from, random));
    return bytes;
  },
  (bytes, at, random) => (random.chance(0.3) ? bytes.subarray(0, at) : bytes),
];

/** A copy with one to eight changes, most of them in the first `head` bytes. */
export function mutateBytes(original: Uint8Array, random: Random, head = original.length): Buffer {
  let bytes: Buffer = Buffer.from(original);
  for (let left = random.pick([1, 1, 1, 2, 3, 8]); left > 0 && bytes.length > 0; left--) {
    const end = random.chance(0.9) ? Math.min(head, bytes.length) : bytes.length;
    bytes = random.pick(changes)(bytes, random.below(end), random);
  }
  return bytes;
}

const strings = ['', '0', '-1', 'null', '__proto__', '../../x', '/etc/hostname', '\u0000', '\u202e', 'é', '%d', 'NaN'];

/** A value that a reader may not expect. */
export function oddValue(random: Random): unknown {
  return random.pick<() => unknown>([
    () => null,
    () => random.chance(0.5),
    () => random.edge(),
    () => -random.edge(),
    () => random.pick([0.5, -0.1, 1e-320, 1e308, 3.5, 1e9]),
    () => random.pick(strings),
    () => 'x'.repeat(random.pick([100, 10_000])),
    () => [],
    () => ({}),
    () => [[random.edge()], [null]],
    () => ({ length: random.edge() }),
    () => Array.from({ length: random.pick([1, 3, 100, 2000]) }, () => random.edge()),
  ])();
}

type Json = Record<string, unknown>;
type Place = { readonly holder: Json; readonly key: string };

function placesIn(value: unknown, found: Place[] = []): Place[] {
  if (typeof value !== 'object' || value === null) return found;
  for (const key of Object.keys(value)) {
    found.push({ holder: value as Json, key });
    placesIn((value as Json)[key], found);
  }
  return found;
}

/** A copy of a tree of JSON with one to four changes. */
export function mutateTree(original: unknown, random: Random): unknown {
  const root = { root: structuredClone(original) };
  for (let left = random.pick([1, 1, 1, 2, 4]); left > 0; left--) {
    const places = placesIn(root);
    if (places.length === 0) break;
    const { holder, key } = random.pick(places);
    const other = random.pick(places);
    random.pick([
      () => {
        holder[key] = oddValue(random);
      },
      () => {
        const value = holder[key];
        holder[key] = typeof value === 'number' ? value + random.pick([-1, 1, 0.5]) : JSON.stringify(value);
      },
      () => {
        delete holder[key];
      },
      () => {
        holder[key] = structuredClone(other.holder[other.key]);
      },
      () => {
        const name = random.pick([...strings, 'constructor', 'length', 'toString']);
        if (!Array.isArray(holder)) holder[name] = holder[key];
      },
      () => {
        holder[key] = [holder[key]];
      },
    ])();
  }
  return root.root;
}

/** JSON of a changed tree, or changed text. */
export function mutateJson(original: unknown, random: Random): Buffer {
  const text = JSON.stringify(mutateTree(original, random)) ?? '';
  if (random.chance(0.8)) return Buffer.from(text);
  return random.pick([
    () => mutateBytes(Buffer.from(text), random),
    () => Buffer.from(`\ufeff${text}`),
    () => Buffer.from(text, 'utf16le'),
    () => Buffer.from(text.replace(/\d+/, random.pick(['NaN', '1e999', '-0', '01', '1'.repeat(400)]))),
    () => Buffer.from(text.replace(/[[{]/, random.pick(['[', '{"a":']).repeat(random.pick([10, 3000])))),
    () => Buffer.from(text.slice(0, random.below(text.length + 1))),
    () => Buffer.concat([Buffer.from(text), Buffer.from(text)]),
  ])();
}
