// The parts of media files, as far as a change of them needs it: boxes of MP4, elements of Matroska, chunks of RIFF and PNG.

/** A part: its header, in it its size, its content. */
export type Part = {
  readonly at: number;
  readonly end: number;
  readonly sizeAt: number;
  readonly sizeBytes: number;
  readonly littleEndian: boolean;
  /** Where its name lies, and how long it is. */
  readonly nameAt: number;
  readonly nameBytes: number;
};

const holders = new Set(['moov', 'trak', 'mdia', 'minf', 'stbl', 'edts', 'moof', 'traf', 'mvex', 'udta', 'dinf']);

function boxes(bytes: Buffer, from: number, to: number): Part[] {
  const found: Part[] = [];
  for (let at = from; at + 8 <= to; ) {
    const size = bytes.readUInt32BE(at);
    const end = size < 8 ? to : Math.min(at + size, to);
    found.push({ at, end, sizeAt: at, sizeBytes: 4, littleEndian: false, nameAt: at + 4, nameBytes: 4 });
    if (holders.has(bytes.toString('latin1', at + 4, at + 8))) found.push(...boxes(bytes, at + 8, end));
    at = end;
  }
  return found;
}

const ebmlHolders = new Set([
  0x18538067, 0x1549a966, 0x1654ae6b, 0xae, 0xe0, 0x1f43b675, 0xa0, 0x1c53bb6b, 0xbb, 0xb7, 0x1254c367, 0x7373,
  0x114d9b74, 0x4dbb,
]);

function elements(bytes: Buffer, from: number, to: number): Part[] {
  const found: Part[] = [];
  for (let at = from; at + 2 <= to; ) {
    const nameBytes = Math.clz32(bytes[at]!) - 23;
    const sizeAt = at + nameBytes;
    const sizeBytes = Math.clz32(bytes[sizeAt] ?? 0) - 23;
    if (nameBytes > 4 || sizeBytes > 8 || sizeAt + sizeBytes > to) break;
    const name = bytes.readUIntBE(at, nameBytes);
    let size = bytes[sizeAt]! & (0xff >> sizeBytes);
    let unknown = size === 0xff >> sizeBytes;
    for (let i = 1; i < sizeBytes; i++) {
      size = size * 256 + bytes[sizeAt + i]!;
      unknown &&= bytes[sizeAt + i] === 0xff;
    }
    const start = sizeAt + sizeBytes;
    const end = unknown ? to : Math.min(start + size, to);
    found.push({ at, end, sizeAt, sizeBytes, littleEndian: false, nameAt: at, nameBytes });
    if (ebmlHolders.has(name)) found.push(...elements(bytes, start, end));
    at = end;
  }
  return found;
}

function chunks(bytes: Buffer, from: number, to: number): Part[] {
  const found: Part[] = [];
  for (let at = from; at + 8 <= to; ) {
    const size = bytes.readUInt32LE(at + 4);
    const end = Math.min(at + 8 + size + (size & 1), to);
    found.push({ at, end, sizeAt: at + 4, sizeBytes: 4, littleEndian: true, nameAt: at, nameBytes: 4 });
    if (['RIFF', 'LIST'].includes(bytes.toString('latin1', at, at + 4))) found.push(...chunks(bytes, at + 12, end));
    at = end;
  }
  return found;
}

function pngChunks(bytes: Buffer): Part[] {
  const found: Part[] = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const end = Math.min(at + 12 + bytes.readUInt32BE(at), bytes.length);
    found.push({ at, end, sizeAt: at, sizeBytes: 4, littleEndian: false, nameAt: at + 4, nameBytes: 4 });
    at = end;
  }
  return found;
}

/** The parts of a sound file; none of formats without such parts. */
export function partsOf(bytes: Buffer): Part[] {
  if (bytes.toString('latin1', 4, 8) === 'ftyp') return boxes(bytes, 0, bytes.length);
  if (bytes.readUInt32BE(0) === 0x1a45dfa3) return elements(bytes, 0, bytes.length);
  if (bytes.toString('latin1', 0, 4) === 'RIFF') return chunks(bytes, 0, bytes.length);
  if (bytes.readUInt32BE(0) === 0x89504e47) return pngChunks(bytes);
  return [];
}
