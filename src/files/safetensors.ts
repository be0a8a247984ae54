// The safetensors format: u64 header length, JSON header, then the tensors' bytes at the offsets in the header.
import type { FileHandle } from 'node:fs/promises';
import { isErrorOf, LongVLMError } from '../base/errors.js';
import { openRegularFile } from '../base/regularFile.js';
import type { Tensor } from '../base/tensor.js';
import { writeWholeFile } from '../base/wholeFile.js';
import { type JsonLimits, jsonEntries, parseJson } from './jsonEntries.js';
import {
  bytesPerElement,
  checkPlaces,
  copyOf,
  type ElementType,
  expectedBytes,
  maxTensors,
  readBytes,
  type TensorLocation,
  type WeightFile,
  weightsError,
} from './tensorFile.js';
import { checkFinished } from './unfinished.js';
import { foreignFileError, headBytes, weightFormat } from './whatIsThis.js';

export { readFloatTensor, readTensor, readTensorIn } from './tensorFile.js';

/** A safetensors file's tensors, and the strings that were saved with them. */
export type SafetensorsFile = WeightFile & {
  readonly format: 'safetensors';
  readonly metadata: Readonly<Record<string, string>>;
};

/**
 * A tensor for {@link writeSafetensors}. `data` holds exactly the elements of `shape`, BF16 and F16 as bits. If `data` is a
 * function, it is called when the tensor is written, in the order of the tensors, so only one tensor is in memory at a time.
 */
export type TensorData = {
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly data: ArrayBufferView | (() => Promise<ArrayBufferView>);
};

// Some 100,000 tensors, ten times as many as any model has in one file. The format's own limit is 100 MB.
const maxHeaderBytes = 25_000_000;
// One write() may not exceed 2 GiB - 1.
const maxWriteBytes = 1 << 30;
const metadataKey = '__metadata__';
const tensorLimits = { items: 1000, bytes: 1 << 16 };
const metadataLimits = { items: 1000, bytes: 8 << 20 };
const maxMetadata = 10_000;
const otherFile = 'Give a .safetensors file.';

/**
 * Reads a safetensors file's header; the tensors stay on disk.
 *
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the file cannot be read; `ERR_LONGVLM_WEIGHTS` when it is truncated, its
 * header is not JSON or is above 25 MB, a name occurs twice, or a tensor's byte range is out of bounds, overlaps another or
 * does not match its shape.
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const handle = await openRegularFile(path);
  try {
    const fileBytes = (await handle.stat()).size;
    const read: ReadBytes = (offset, byteLength) => readBytes(handle, path, offset, byteLength);
    const { file, dataStart } = await readWith(read, path, fileBytes);
    await checkFinished(handle, path, dataStart, fileBytes);
    return file;
  } finally {
    await handle.close();
  }
}

/**
 * The same for a file that is in memory. {@link readTensorIn} reads its tensors.
 * @param name what errors call it
 */
export async function parseSafetensors(name: string, bytes: Uint8Array): Promise<SafetensorsFile> {
  const read: ReadBytes = async (offset, byteLength) => copyOf(bytes, name, offset, byteLength);
  return (await readWith(read, name, bytes.byteLength)).file;
}

type ReadBytes = (offset: number, byteLength: number) => Promise<Uint8Array>;

async function readWith(
  read: ReadBytes,
  path: string,
  fileBytes: number,
): Promise<{ file: SafetensorsFile; dataStart: number }> {
  if (fileBytes > 0 && fileBytes < 8)
    throw weightsError(path, `not a safetensors file: it has only ${fileBytes} bytes`);
  const head = Buffer.from(await read(0, Math.min(headBytes, fileBytes)));
  const foreign = weightFormat(head) !== 'safetensors' && foreignFileError(path, head, 'safetensors');
  if (foreign) throw foreign;
  const headerBytes = head.readBigUInt64LE(0);
  if (headerBytes > maxHeaderBytes)
    throw weightsError(
      path,
      `not a safetensors file: its header would take ${headerBytes} bytes, above the limit of ${maxHeaderBytes}`,
      otherFile,
    );
  const dataStart = 8 + Number(headerBytes);
  if (dataStart > fileBytes)
    throw weightsError(path, `truncated: its header ends at byte ${dataStart}, the file at ${fileBytes}`);
  const header = await read(8, Number(headerBytes));
  return { file: await readHeader(path, header, dataStart, fileBytes), dataStart };
}

async function readHeader(
  path: string,
  header: Uint8Array,
  dataStart: number,
  fileBytes: number,
): Promise<SafetensorsFile> {
  const tensors = new Map<string, TensorLocation>();
  const metadata = new Map<string, string>();
  let words = 0;
  try {
    for await (const { key, value, within } of jsonEntries(header, limitsOf)) {
      if (within === metadataKey) {
        const item = parseJson(value);
        // What is no plain value has no place there.
        if (typeof item !== 'object') metadata.set(key, String(item));
        if (++words > maxMetadata) throw new RangeError(`more than ${maxMetadata} words of metadata`);
      } else if (key !== metadataKey) {
        if (tensors.has(key)) throw weightsError(path, `tensor ${key} occurs twice`);
        tensors.set(key, readEntry(path, key, parseJson(value), dataStart));
        if (tensors.size > maxTensors) throw weightsError(path, `damaged: it has more than ${maxTensors} tensors`);
      }
    }
  } catch (error) {
    if (error instanceof LongVLMError) throw error;
    const reason = isErrorOf(error, 'RangeError') ? `its header has ${error.message}` : 'its header is no JSON object';
    throw weightsError(path, `not a safetensors file: ${reason}`, otherFile);
  }
  await checkPlaces(path, tensors, fileBytes);
  return { format: 'safetensors', path, tensors, metadata: Object.fromEntries(metadata) };
}

function limitsOf(key: string, within: string | undefined): JsonLimits | 'entries' {
  if (within !== undefined) return metadataLimits;
  return key === metadataKey ? 'entries' : tensorLimits;
}

function readEntry(path: string, name: string, entry: unknown, dataStart: number): TensorLocation {
  const { dtype, shape, data_offsets: range } = isRecord(entry) ? entry : {};
  if (typeof dtype !== 'string' || !isSizes(shape) || !isSizes(range) || range.length !== 2)
    throw weightsError(path, `tensor ${name} has no valid dtype, shape and data_offsets`);
  const [begin, end] = range as [number, number];
  const byteLength = end - begin;
  if (byteLength < 0) throw weightsError(path, `tensor ${name} has invalid data_offsets [${begin}, ${end}]`);
  const expected = expectedBytes(dtype, shape);
  if (expected !== undefined && expected !== byteLength)
    throw weightsError(
      path,
      `tensor ${name} of type ${dtype} and shape [${shape}] takes ${expected} bytes, not ${byteLength}`,
    );
  return { name, type: dtype, shape, file: path, offset: dataStart + begin, byteLength };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

/** A {@link TensorData} that is in memory. */
export type HeldTensorData = TensorData & { readonly data: ArrayBufferView };

/** A {@link Tensor} as {@link writeSafetensors} takes it, without a copy. */
export function tensorData(tensor: Tensor): HeldTensorData {
  return { type: tensor.type === 'float16' ? 'F16' : 'F32', shape: tensor.dims, data: tensor.data };
}

/**
 * Writes a safetensors file atomically: under a temporary name in the same folder, then renamed over `path`.
 *
 * @throws RangeError when data do not match their shape; LongVLMError `ERR_LONGVLM_FILE` when writing fails; errors of a
 * `data` function; `signal.reason`.
 */
export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, TensorData>>,
  metadata: Readonly<Record<string, string>> = {},
  signal?: AbortSignal,
): Promise<void> {
  const entries = Object.entries(tensors);
  const places = placesOf(entries);
  const header = encodeHeader(places, tensors, metadata);
  await writeWholeFile(path, async (handle) => {
    await writeAt(handle, header, 0);
    for (const [name, { type, shape, data }] of entries) {
      signal?.throwIfAborted();
      const view = typeof data === 'function' ? await data() : data;
      checkBytes(name, type, shape, view);
      const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
      await writeAt(handle, bytes, header.byteLength + places.get(name)![0]);
    }
  });
}

/**
 * What {@link writeSafetensors} writes, in memory.
 * @throws RangeError when data do not match their shape
 */
export function safetensorsBytes(
  tensors: Readonly<Record<string, HeldTensorData>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  const places = placesOf(Object.entries(tensors));
  const header = encodeHeader(places, tensors, metadata);
  const end = Math.max(0, ...[...places.values()].map(([, each]) => each));
  const bytes = new Uint8Array(header.byteLength + end);
  bytes.set(header);
  for (const [name, { data }] of Object.entries(tensors)) {
    const { buffer, byteOffset, byteLength } = data;
    bytes.set(new Uint8Array(buffer, byteOffset, byteLength), header.byteLength + places.get(name)![0]);
  }
  return bytes;
}

async function writeAt(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; )
    done += (await handle.write(bytes, done, Math.min(bytes.byteLength - done, maxWriteBytes), position + done))
      .bytesWritten;
}

type Range = readonly [begin: number, end: number];

/** Where the tensors lie behind the header: wide element types first, so that every tensor is aligned to its element size. */
function placesOf(entries: readonly [string, TensorData][]): ReadonlyMap<string, Range> {
  const sorted = entries.toSorted(([, a], [, b]) => bytesPerElement(b.type)! - bytesPerElement(a.type)!);
  const places = new Map<string, Range>();
  let end = 0;
  for (const [name, { type, shape }] of sorted) {
    const begin = end;
    end += expectedBytes(type, shape)!;
    places.set(name, [begin, end]);
  }
  return places;
}

function encodeHeader(
  places: ReadonlyMap<string, Range>,
  tensors: Readonly<Record<string, TensorData>>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const header: [string, unknown][] = Object.keys(metadata).length > 0 ? [['__metadata__', metadata]] : [];
  for (const [name, range] of places) {
    const { type, shape, data } = tensors[name]!;
    if (typeof data !== 'function') checkBytes(name, type, shape, data);
    header.push([name, { dtype: type, shape, data_offsets: range }]);
  }
  const json = JSON.stringify(Object.fromEntries(header));
  const text = new TextEncoder().encode(json.padEnd(json.length + ((8 - (Buffer.byteLength(json) % 8)) % 8)));
  const bytes = new Uint8Array(8 + text.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

function checkBytes(name: string, type: ElementType, shape: readonly number[], data: ArrayBufferView): void {
  const bytes = expectedBytes(type, shape);
  if (bytes !== data.byteLength)
    throw new RangeError(
      `Expected ${bytes} bytes for ${name} of type ${type} and shape [${shape}] but received ${data.byteLength}`,
    );
}
