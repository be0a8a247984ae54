// The GGUF format: counts, metadata, where each tensor lies, then the tensors' bytes. Every length in it is untrusted.

import type { FileHandle } from 'node:fs/promises';
import { types } from 'node:util';
import { Pace } from '../base/pace.js';
import { openRegularFile } from '../base/regularFile.js';
import { elementCount } from '../base/tensor.js';
import { checkGgufUse } from './ggufUse.js';
import { numberIn, wordIn } from './metadataValues.js';
import {
  checkPlaces,
  maxTensors,
  readBytes,
  type TensorLocation,
  type WeightFile,
  weightsError,
} from './tensorFile.js';
import { checkFinished } from './unfinished.js';
import { foreignFileError, headBytes } from './whatIsThis.js';

/** A value of a GGUF file's metadata. Integers beyond 2^53 stay `bigint`. */
export type GgufValue = number | bigint | boolean | string | readonly GgufValue[];

/** A GGUF file's tensors and metadata. */
export type GgufFile = WeightFile & { readonly format: 'gguf'; readonly metadata: ReadonlyMap<string, GgufValue> };

type BlockType = { readonly type: string; readonly elements: number; readonly bytes: number };

// Names, elements of a block and its bytes, by ggml's number for the type.
const blockTypes: Readonly<Record<number, BlockType>> = Object.fromEntries(
  (
    [
      [0, 'F32', 1, 4],
      [1, 'F16', 1, 2],
      [2, 'Q4_0', 32, 18],
      [3, 'Q4_1', 32, 20],
      [6, 'Q5_0', 32, 22],
      [7, 'Q5_1', 32, 24],
      [8, 'Q8_0', 32, 34],
      [10, 'Q2_K', 256, 84],
      [11, 'Q3_K', 256, 110],
      [12, 'Q4_K', 256, 144],
      [13, 'Q5_K', 256, 176],
      [14, 'Q6_K', 256, 210],
      [16, 'IQ2_XXS', 256, 66],
      [17, 'IQ2_XS', 256, 74],
      [18, 'IQ3_XXS', 256, 98],
      [19, 'IQ1_S', 256, 50],
      [20, 'IQ4_NL', 32, 18],
      [21, 'IQ3_S', 256, 110],
      [22, 'IQ2_S', 256, 82],
      [23, 'IQ4_XS', 256, 136],
      [24, 'I8', 1, 1],
      [25, 'I16', 1, 2],
      [26, 'I32', 1, 4],
      [27, 'I64', 1, 8],
      [28, 'F64', 1, 8],
      [29, 'IQ1_M', 256, 56],
      [30, 'BF16', 1, 2],
      [34, 'TQ1_0', 256, 54],
      [35, 'TQ2_0', 256, 66],
      [39, 'MXFP4', 32, 17],
    ] as const
  ).map(([code, type, elements, bytes]) => [code, { type, elements, bytes }]),
);

const defaultAlignment = 32;
const maxDimensions = 4;
// The largest vocabularies take about 20 MiB and 900,000 items, the most tensors are some thousands.
const maxHeaderBytes = 64 << 20;
const maxItems = 2_000_000;
const maxValues = 65_536;
const maxTextBytes = 4 << 20;
const firstReadBytes = 1 << 20;
const bytesAtOnce = 1 << 16;
/** ggml's own limit is 64. */
const maxNameBytes = 256;

/**
 * Reads a GGUF file's metadata and the locations of its tensors; the tensors stay on disk. Shapes are row-major, outermost
 * first, as everywhere in this package: the file itself has the reverse order.
 *
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the file cannot be read, or lacks one of its parts; `ERR_LONGVLM_WEIGHTS` when
 * it is not a GGUF file of a model, is truncated, or is inconsistent.
 */
export async function openGguf(path: string): Promise<GgufFile> {
  const handle = await openRegularFile(path);
  try {
    const fileBytes = (await handle.stat()).size;
    const head = Buffer.from(await readBytes(handle, path, 0, Math.min(headBytes, fileBytes)));
    const foreign = foreignFileError(path, head, 'gguf');
    if (foreign) throw foreign;
    const { metadata, tensors, dataStart } = await readHeader(handle, path, fileBytes);
    await checkPlaces(path, tensors, fileBytes);
    await checkFinished(handle, path, dataStart, fileBytes);
    await checkGgufUse(path, metadata, tensors);
    return { format: 'gguf', path, tensors, metadata };
  } finally {
    await handle.close();
  }
}

type Header = { metadata: Map<string, GgufValue>; tensors: Map<string, TensorLocation>; dataStart: number };

// Parses a prefix of the file, and takes a longer one until it contains the header.
async function readHeader(handle: FileHandle, path: string, fileBytes: number): Promise<Header> {
  for (let bytes = Math.min(firstReadBytes, fileBytes); ; bytes = Math.min(8 * bytes, fileBytes, maxHeaderBytes)) {
    const prefix = await readBytes(handle, path, 0, bytes);
    try {
      return await parseHeader(path, new Reader(path, prefix));
    } catch (error) {
      if (error !== tooShort) throw error;
      if (bytes === fileBytes) throw weightsError(path, `truncated: its header goes beyond its ${fileBytes} bytes`);
      if (bytes === maxHeaderBytes)
        throw weightsError(path, `its header takes more than ${maxHeaderBytes} bytes, so it is damaged`);
    }
  }
}

async function parseHeader(path: string, reader: Reader): Promise<Header> {
  if (reader.text(4) !== 'GGUF') throw weightsError(path, 'not a GGUF file', 'Give a .gguf file.');
  const version = reader.uint32();
  if (version !== 2 && version !== 3)
    throw weightsError(path, `GGUF version ${version} cannot be read`, 'Use a file of version 2 or 3.');
  const tensorCount = reader.size();
  const valueCount = reader.size();
  if (valueCount > maxValues) throw weightsError(path, `damaged: it claims ${valueCount} values of metadata`);
  if (tensorCount > maxTensors) throw weightsError(path, `damaged: it claims ${tensorCount} tensors`);
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < valueCount; i++) {
    const key = reader.string();
    if (metadata.has(key)) throw weightsError(path, `damaged: its metadata have ${key} twice`);
    metadata.set(key, await reader.value(reader.uint32()));
    await reader.rest(i);
  }
  const entries: Entry[] = [];
  for (let i = 0; i < tensorCount; i++) {
    entries.push(reader.tensor());
    await reader.rest(i);
  }
  const alignment = numberIn(metadata, 'general.alignment', defaultAlignment);
  if (!Number.isSafeInteger(alignment) || !Number.isInteger(Math.log2(alignment)))
    throw weightsError(path, `general.alignment is ${wordIn(metadata, 'general.alignment')}, which cannot be`);
  const dataStart = Math.ceil(reader.position / alignment) * alignment;
  return { metadata, tensors: await placed(path, entries, dataStart), dataStart };
}

async function placed(
  path: string,
  entries: readonly Entry[],
  dataStart: number,
): Promise<Map<string, TensorLocation>> {
  const tensors = new Map<string, TensorLocation>();
  const pace = new Pace();
  for (const { name, code, shape, offset } of entries) {
    if (tensors.size % 256 === 0 && pace.isDue) await pace.rest();
    if (tensors.has(name)) throw weightsError(path, `tensor ${name} occurs twice`);
    const block = Object.hasOwn(blockTypes, code) ? blockTypes[code] : undefined;
    if (block && (shape.at(-1) ?? 1) % block.elements !== 0)
      throw weightsError(
        path,
        `tensor ${name} of type ${block.type} has rows of ${shape.at(-1)}, no multiple of ${block.elements}`,
      );
    tensors.set(name, {
      name,
      type: block?.type ?? `ggml type ${code}`,
      shape,
      file: path,
      offset: dataStart + offset,
      byteLength: block ? (elementCount(shape) / block.elements) * block.bytes : 0,
    });
  }
  return tensors;
}

type Entry = { readonly name: string; readonly shape: number[]; readonly code: number; readonly offset: number };

// Thrown by a Reader at the end of the prefix: a longer prefix may contain the rest.
const tooShort = new Error('the prefix is too short');

/** Reads values in sequence. Lengths are untrusted: nothing is read or allocated beyond the bytes that exist. */
class Reader {
  position = 0;
  readonly #path: string;
  readonly #bytes: Buffer;
  readonly #view: DataView;
  readonly #pace = new Pace();
  #items = 0;

  constructor(path: string, bytes: Uint8Array) {
    this.#path = path;
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  uint32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  /** A count or an offset. */
  size(): number {
    const value = this.#view.getBigUint64(this.#take(8), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw weightsError(this.#path, `damaged: a size of ${value} in its header`);
    return Number(value);
  }

  /** Lets everything else run, if it is due. @param done how many steps were made; asked every few hundred of them */
  async rest(done: number): Promise<void> {
    if (done % 256 === 0 && this.#pace.isDue) await this.#pace.rest();
  }

  text(length: number): string {
    const start = this.#take(length);
    return this.#bytes.toString('utf8', start, start + length);
  }

  string(): string {
    const bytes = this.size();
    if (bytes <= maxTextBytes) return this.text(bytes);
    if (bytes > this.#bytes.length - this.position) throw tooShort;
    throw weightsError(this.#path, `damaged: a text of ${bytes} bytes in its header`);
  }

  value(type: number, depth = 0): GgufValue | Promise<GgufValue> {
    const view = this.#view;
    switch (type) {
      case 0:
        return view.getUint8(this.#take(1));
      case 1:
        return view.getInt8(this.#take(1));
      case 2:
        return view.getUint16(this.#take(2), true);
      case 3:
        return view.getInt16(this.#take(2), true);
      case 4:
        return view.getUint32(this.#take(4), true);
      case 5:
        return view.getInt32(this.#take(4), true);
      case 6:
        return view.getFloat32(this.#take(4), true);
      case 7:
        return view.getUint8(this.#take(1)) !== 0;
      case 8:
        return this.string();
      case 9:
        return this.#list(depth);
      case 10:
        return smallest(view.getBigUint64(this.#take(8), true));
      case 11:
        return smallest(view.getBigInt64(this.#take(8), true));
      case 12:
        return view.getFloat64(this.#take(8), true);
    }
    throw weightsError(this.#path, `damaged: a value of the unknown type ${type} in its metadata`);
  }

  tensor(): Entry {
    const nameBytes = this.size();
    if (nameBytes > maxNameBytes) throw weightsError(this.#path, `damaged: a tensor with a name of ${nameBytes} bytes`);
    const name = this.text(nameBytes);
    const rank = this.uint32();
    if (rank > maxDimensions) throw weightsError(this.#path, `tensor ${name} has ${rank} dimensions, so it is damaged`);
    const shape = Array.from({ length: rank }, () => this.size()).reverse();
    if (!Number.isSafeInteger(elementCount(shape)))
      throw weightsError(this.#path, `tensor ${name} of shape [${shape.join(', ')}] cannot be`);
    return { name, shape, code: this.uint32(), offset: this.size() };
  }

  async #list(depth: number): Promise<GgufValue[]> {
    // Real files do not nest lists; a hostile one could nest them until the stack overflows.
    if (depth > 3) throw weightsError(this.#path, 'damaged: lists in lists in its metadata');
    const type = this.uint32();
    const count = this.size();
    // A longer prefix may contain the rest.
    if (count > this.#bytes.length - this.position) throw tooShort;
    this.#items += count;
    if (this.#items > maxItems)
      throw weightsError(this.#path, `damaged: lists of more than ${maxItems} items in its metadata`);
    const list: GgufValue[] = [];
    let rested = this.position;
    for (let i = 0; i < count; i++) {
      const value = this.value(type, depth + 1);
      list.push(types.isPromise(value) ? await value : value);
      if (i % 256 < 255 && this.position - rested < bytesAtOnce) continue;
      rested = this.position;
      await this.rest(0);
    }
    return list;
  }

  #take(bytes: number): number {
    const start = this.position;
    if (bytes > this.#bytes.length - start) throw tooShort;
    this.position = start + bytes;
    return start;
  }
}

function smallest(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
