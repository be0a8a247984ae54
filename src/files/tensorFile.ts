import type { FileHandle } from 'node:fs/promises';
import { LongVLMError } from '../base/errors.js';
import { fileError } from '../base/fileError.js';
import { widenedBfloat16 } from '../base/largeTensor.js';
import { Pace } from '../base/pace.js';
import { printable } from '../base/printable.js';
import { openRegularFile } from '../base/regularFile.js';
import { elementCount, type Tensor } from '../base/tensor.js';

/** Element types that are stored unquantised, with the size of an element in bytes. */
const elementBytes = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
} as const;

/** An element type that {@link readTensor} can read. */
export type ElementType = keyof typeof elementBytes;

/** The location of a tensor in a file: enough to read it, or to point an ONNX graph at it. */
export type TensorLocation = {
  readonly name: string;
  /** One of {@link ElementType}, or the file's name of another type (`F8_E4M3`, `Q4_0`), which is rejected only when used. */
  readonly type: ElementType | (string & {});
  readonly shape: readonly number[];
  /** Path of the file that holds the bytes. */
  readonly file: string;
  /** Position of the first byte in `file`; any value, aligned or not. */
  readonly offset: number;
  readonly byteLength: number;
  /**
   * Set where the elements do not lie one after the other: their type, and the step between neighbours along each axis, in
   * elements. `type` is then a name that nothing reads, and `byteLength` what the values take in sequence.
   */
  readonly view?: { readonly type: ElementType; readonly strides: readonly number[] };
  /** Set where it was written out anew: the tensor that it has the values of. */
  readonly madeFrom?: TensorLocation;
};

/** Tensors that were saved together, by name. */
export type WeightFile = {
  /** The file, or the folder or index of a sharded model. */
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  /** For a sharded model: the tensors in missing shards, with the path of the shard. */
  readonly absent?: ReadonlyMap<string, string>;
};

/** All tensor names of a file, including tensors in missing shards. */
export function tensorNames({ tensors, absent }: WeightFile): string[] {
  return [...tensors.keys(), ...(absent?.keys() ?? [])];
}

/** The values of a tensor that was read. F16 stays half-precision bits; BF16 is widened to float32, which is exact. */
export type TensorValues =
  | Float64Array
  | Float32Array
  | Uint16Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Int8Array
  | Uint8Array;

/** The bytes of one element of `type`, or undefined for a type that this package does not read. */
export function bytesPerElement(type: string): number | undefined {
  return Object.hasOwn(elementBytes, type) ? elementBytes[type as ElementType] : undefined;
}

/** Names under which browsers and other programs keep what they have not downloaded whole yet. */
const unfinishedName = /\.(part|partial|crdownload|download|opdownload|incomplete|aria2)$/i;

function remedyFor(path: string): string {
  return unfinishedName.test(path)
    ? 'Its download has not finished: wait, or start it again.'
    : 'Download the file again.';
}

/** The error for damaged or unsuitable weights: `message` is the cause, without a full stop; it may hold names of the file. */
export function weightsError(path: string, message: string, remedy = remedyFor(path)): LongVLMError {
  return new LongVLMError('ERR_LONGVLM_WEIGHTS', `${printable(path)}: ${printable(message)}. ${remedy}`);
}

/** More tensors than any model has in one file. */
export const maxTensors = 100_000;

/** @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when tensors of one file overlap, or extend beyond its end. */
export async function checkPlaces(
  path: string,
  tensors: ReadonlyMap<string, TensorLocation>,
  fileBytes: number,
): Promise<void> {
  const filled: TensorLocation[] = [];
  for (const tensor of tensors.values()) {
    const { name, offset, byteLength } = tensor;
    if (offset + byteLength > fileBytes)
      throw weightsError(
        path,
        `truncated: tensor ${name} ends at byte ${offset + byteLength}, the file at ${fileBytes}`,
      );
    if (byteLength > 0) filled.push(tensor);
  }
  const pace = new Pace();
  // Numbers alone, which are sorted in a tenth of the time: stretches are apart if each ends before the next one begins.
  const begins = Float64Array.from(filled, ({ offset }) => offset).sort();
  if (pace.isDue) await pace.rest();
  const ends = Float64Array.from(filled, ({ offset, byteLength }) => offset + byteLength).sort();
  for (let i = 1; i < begins.length; i++) {
    const begin = begins[i]!;
    if (begin >= ends[i - 1]!) continue;
    const both = filled.filter(({ offset, byteLength }) => offset <= begin && begin < offset + byteLength);
    throw weightsError(path, `tensors ${both[0]!.name} and ${both[1]!.name} overlap`);
  }
}

// One read() may not exceed 2 GiB - 1.
const maxReadBytes = 1 << 30;

/** Reads exactly `byteLength` bytes from `offset`. @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when the file is shorter. */
export async function readBytes(
  handle: FileHandle,
  path: string,
  offset: number,
  byteLength: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = allocated(path, byteLength);
  await readInto(bytes, handle, path, offset);
  return bytes;
}

/** As {@link readBytes}, into memory that is there: as many bytes as it has. */
export async function readInto(bytes: Uint8Array, handle: FileHandle, path: string, offset: number): Promise<void> {
  const { byteLength } = bytes;
  for (let done = 0; done < byteLength; ) {
    const { bytesRead } = await handle
      .read(bytes, done, Math.min(byteLength - done, maxReadBytes), offset + done)
      .catch((error: unknown) => Promise.reject(fileError(path, error)));
    if (bytesRead === 0)
      throw weightsError(path, `truncated: the file ends at byte ${offset + done} of ${offset + byteLength}`);
    done += bytesRead;
  }
}

/** The same of a file that is in memory: a copy, whatever its owner does with it meanwhile. */
export function copyOf(bytes: Uint8Array, path: string, offset: number, byteLength: number): Uint8Array<ArrayBuffer> {
  // A buffer that was transferred away, or became shorter, has less than it had.
  if (bytes.byteLength < offset + byteLength)
    throw weightsError(path, `truncated: it ends at byte ${bytes.byteLength} of ${offset + byteLength}`);
  const copy = allocated(path, byteLength);
  copy.set(bytes.subarray(offset, offset + byteLength));
  return copy;
}

/** Memory for what is read of a file. @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when there is not as much */
export function allocated(path: string, byteLength: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(byteLength);
  } catch {
    throw weightsError(path, `${byteLength} bytes of it are more than this machine can hold`, 'Use a smaller model.');
  }
}

/**
 * Reads one tensor into memory.
 * @throws LongVLMError `ERR_LONGVLM_FILE`, or `ERR_LONGVLM_WEIGHTS` for a truncated file or a type that cannot be read.
 */
export async function readTensor(location: TensorLocation): Promise<TensorValues> {
  checkReadable(location);
  const handle = await openRegularFile(location.file);
  try {
    const bytes = await readBytes(handle, location.file, location.offset, location.byteLength);
    return await decode(location.type as ElementType, bytes.buffer);
  } finally {
    await handle.close();
  }
}

/** {@link readTensor} for a file that is in memory: a copy of the values. */
export async function readTensorIn(bytes: Uint8Array, location: TensorLocation): Promise<TensorValues> {
  checkReadable(location);
  const copy = copyOf(bytes, location.file, location.offset, location.byteLength);
  return await decode(location.type as ElementType, copy.buffer);
}

function checkReadable({ file, name, type }: TensorLocation): void {
  if (bytesPerElement(type) === undefined)
    throw weightsError(
      file,
      `tensor ${name} is of type ${type}, which cannot be read`,
      'Convert it to F32, F16 or BF16.',
    );
}

/**
 * Reads one floating-point tensor as this package's {@link Tensor}: F16 stays float16, F32 and BF16 become float32.
 * @param read reads its values. Defaults to {@link readTensor}.
 * @throws LongVLMError as {@link readTensor}, and `ERR_LONGVLM_WEIGHTS` for other element types.
 */
export async function readFloatTensor(location: TensorLocation, read = readTensor): Promise<Tensor> {
  const type = floatType(location);
  const data = (await read(location)) as Float32Array | Uint16Array;
  return { type: type === 'float16' ? type : 'float32', data, dims: location.shape };
}

const floatTypes = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;

/** The type of a tensor of floats. @throws LongVLMError `ERR_LONGVLM_WEIGHTS` for other element types. */
export function floatType({ type, name, file }: TensorLocation): 'float32' | 'float16' | 'bfloat16' {
  if (Object.hasOwn(floatTypes, type)) return floatTypes[type as keyof typeof floatTypes];
  throw weightsError(
    file,
    `tensor ${name} is of type ${type} where F32, F16 or BF16 is needed`,
    'Convert it to one of them.',
  );
}

function decode(type: ElementType, buffer: ArrayBuffer): TensorValues | Promise<TensorValues> {
  switch (type) {
    case 'F64':
      return new Float64Array(buffer);
    case 'F32':
      return new Float32Array(buffer);
    case 'F16':
    case 'U16':
      return new Uint16Array(buffer);
    case 'BF16':
      return widenedBfloat16(new Uint16Array(buffer));
    case 'I64':
      return new BigInt64Array(buffer);
    case 'U64':
      return new BigUint64Array(buffer);
    case 'I32':
      return new Int32Array(buffer);
    case 'U32':
      return new Uint32Array(buffer);
    case 'I16':
      return new Int16Array(buffer);
    case 'I8':
      return new Int8Array(buffer);
    case 'U8':
    case 'BOOL':
      return new Uint8Array(buffer);
  }
}

/** The bytes that `shape` of `type` takes, or undefined for a type that this package does not read. */
export function expectedBytes(type: string, shape: readonly number[]): number | undefined {
  const bytes = bytesPerElement(type);
  return bytes === undefined ? undefined : elementCount(shape) * bytes;
}
