// Finds the records of a zip archive; no record is ever unpacked.
import type { FileHandle } from 'node:fs/promises';
import { Pace } from '../base/pace.js';

/** A record of an archive. */
export type ZipRecord = {
  readonly name: string;
  /** The place of its own header, which its bytes follow: see {@link recordStart}. */
  readonly headerOffset: number;
  readonly byteLength: number;
  /** Whether the record is stored without compression and encryption. */
  readonly stored: boolean;
};

// Where the archive ends: 22 bytes and a comment. PyTorch's have some 100,000 records at most, of 100 bytes in the directory.
const endBytes = 22;
const maxCommentBytes = 0xffff;
const maxDirectoryBytes = 64 << 20;
const maxRecords = 500_000;
const entryBytes = 46;
const headerBytes = 30;
const [endWord, end64Word, locatorWord] = [0x06054b50, 0x06064b50, 0x07064b50];
const [entryWord, headerWord] = [0x02014b50, 0x04034b50];

/** The records of an archive, by name. @throws Error if the file is not a complete zip archive */
export async function readZipRecords(handle: FileHandle): Promise<Map<string, ZipRecord>> {
  const { size } = await handle.stat();
  const { count, bytes, offset } = await findDirectory(handle, size);
  if (offset + bytes > size) throw new Error(`its directory points at byte ${offset + bytes} of ${size}`);
  if (bytes > maxDirectoryBytes || count > maxRecords) throw new Error(`it claims ${count} records`);
  const directory = await read(handle, offset, bytes);
  const records = new Map<string, ZipRecord>();
  const pace = new Pace();
  for (let at = 0, seen = 0; seen < count; seen++) {
    if (seen % 256 === 0 && pace.isDue) await pace.rest();
    if (at + entryBytes > bytes || directory.readUInt32LE(at) !== entryWord)
      throw new Error('its directory is damaged');
    const lengths = [28, 30, 32].map((place) => directory.readUInt16LE(at + place)) as [number, number, number];
    const next = at + entryBytes + lengths[0] + lengths[1] + lengths[2];
    if (next > bytes) throw new Error('its directory is damaged');
    const record = readEntry(directory, at, lengths);
    if (records.has(record.name)) throw new Error(`it has two records ${record.name}`);
    if (record.headerOffset + headerBytes + record.byteLength > size)
      throw new Error(`record ${record.name} goes beyond its ${size} bytes`);
    records.set(record.name, record);
    at = next;
  }
  return records;
}

/** The place of a record's first byte. @throws Error if its own header is not what the directory says */
export async function recordStart(handle: FileHandle, record: ZipRecord): Promise<number> {
  const { size } = await handle.stat();
  const header = await read(handle, record.headerOffset, headerBytes);
  const nameBytes = header.readUInt16LE(26);
  const start = record.headerOffset + headerBytes + nameBytes + header.readUInt16LE(28);
  const right =
    header.readUInt32LE(0) === headerWord &&
    start + record.byteLength <= size &&
    (await read(handle, record.headerOffset + headerBytes, nameBytes)).toString('utf8') === record.name;
  if (!right) throw new Error(`record ${record.name} is not where its directory says`);
  return start;
}

type Directory = { readonly count: number; readonly bytes: number; readonly offset: number };

async function findDirectory(handle: FileHandle, size: number): Promise<Directory> {
  const tailStart = Math.max(0, size - endBytes - maxCommentBytes);
  const tail = await read(handle, tailStart, size - tailStart);
  for (let at = tail.length - endBytes; at >= 0; at--) {
    if (tail.readUInt32LE(at) !== endWord || at + endBytes + tail.readUInt16LE(at + 20) !== tail.length) continue;
    const found = {
      count: tail.readUInt16LE(at + 10),
      bytes: tail.readUInt32LE(at + 12),
      offset: tail.readUInt32LE(at + 16),
    };
    const isLarge = found.count === 0xffff || found.bytes === 0xffffffff || found.offset === 0xffffffff;
    return isLarge ? await findLargeDirectory(handle, tailStart + at, size) : found;
  }
  throw new Error('it has no end, so it was not downloaded whole');
}

/** Of an archive with sizes in 64 bits. @param end where its usual end is */
async function findLargeDirectory(handle: FileHandle, end: number, size: number): Promise<Directory> {
  const locatorBytes = 20;
  const recordBytes = 56;
  if (end < locatorBytes) throw new Error('its directory cannot be found');
  const locator = await read(handle, end - locatorBytes, locatorBytes);
  const place = locator.readUInt32LE(0) === locatorWord ? wide(locator, 8) : size;
  if (place + recordBytes > size) throw new Error('its directory cannot be found');
  const record = await read(handle, place, recordBytes);
  if (record.readUInt32LE(0) !== end64Word) throw new Error('its directory cannot be found');
  return { count: wide(record, 32), bytes: wide(record, 40), offset: wide(record, 48) };
}

function readEntry(directory: Buffer, at: number, [nameBytes, extraBytes]: [number, number, number]): ZipRecord {
  const name = directory.toString('utf8', at + entryBytes, at + entryBytes + nameBytes);
  const flags = directory.readUInt16LE(at + 8);
  const method = directory.readUInt16LE(at + 10);
  let packed = directory.readUInt32LE(at + 20);
  let unpacked = directory.readUInt32LE(at + 24);
  let headerOffset = directory.readUInt32LE(at + 42);
  // Sizes in 64 bits stand in a field behind the name: those that are needed, in this order.
  const extraEnd = at + entryBytes + nameBytes + extraBytes;
  for (let field = at + entryBytes + nameBytes; field + 4 <= extraEnd; field += 4 + directory.readUInt16LE(field + 2)) {
    if (directory.readUInt16LE(field) !== 1) continue;
    const fieldEnd = Math.min(extraEnd, field + 4 + directory.readUInt16LE(field + 2));
    let place = field + 4;
    const larger = (value: number) => {
      if (value !== 0xffffffff) return value;
      if (place + 8 > fieldEnd) throw new Error(`record ${name} has no size`);
      place += 8;
      return wide(directory, place - 8);
    };
    unpacked = larger(unpacked);
    packed = larger(packed);
    headerOffset = larger(headerOffset);
    break;
  }
  return { name, headerOffset, byteLength: packed, stored: method === 0 && (flags & 1) === 0 && packed === unpacked };
}

function wide(bytes: Buffer, at: number): number {
  const value = Number(bytes.readBigUInt64LE(at));
  if (!Number.isSafeInteger(value)) throw new Error(`it has a size of ${value}`);
  return value;
}

async function read(handle: FileHandle, offset: number, byteLength: number): Promise<Buffer> {
  const bytes = Buffer.alloc(byteLength);
  const { bytesRead } = await handle.read(bytes, 0, byteLength, offset);
  if (bytesRead < byteLength) throw new Error(`it ends at byte ${offset + bytesRead}`);
  return bytes;
}
