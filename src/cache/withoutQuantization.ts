// Quantised weights cannot be run where they lie: they are written out once, as float32, into the cache.
import { dequantize, isQuantized } from '../files/quantizedBlocks.js';
import type { TensorData } from '../files/safetensors.js';
import {
  bytesPerElement,
  type ElementType,
  openFile,
  readBytes,
  type TensorLocation,
  type WeightFile,
} from '../files/tensorFile.js';
import { fingerprint } from '../files/tensorFingerprint.js';
import type { CallOptions } from './sharedWork.js';
import { cachedWeights } from './weightsCache.js';

/**
 * `file` itself where nothing in it is quantised; else the same tensors in a cached file, which is made now when there is
 * none. Tensors of types that cannot be read at all are left out of it.
 *
 * @param options `onProgress` is called with the tensors written, in the stage `convert`, where it is made
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the cache cannot be written; what reading `file` throws; `signal.reason`.
 */
export async function withoutQuantization(file: WeightFile, options: CallOptions = {}): Promise<WeightFile> {
  const tensors = [...file.tensors.values()];
  if (!tensors.some(({ type }) => isQuantized(type))) return file;
  const known = tensors.filter(({ type }) => isQuantized(type) || bytesPerElement(type) !== undefined);
  const key = await fingerprint(
    known.map(({ name }) => name),
    known,
  );
  const make = () => Object.fromEntries(known.map((tensor) => [tensor.name, inFloats(tensor)]));
  return cachedWeights({ key, source: file.path, type: 'float32', make }, options);
}

// Read one at a time, when they are written: a tower takes more than a gigabyte.
function inFloats(tensor: TensorLocation): TensorData {
  const { type, shape } = tensor;
  const bytes = () => readWhole(tensor);
  if (!isQuantized(type)) return { type: type as ElementType, shape, data: bytes };
  return { type: 'F32', shape, data: async () => dequantize(type, await bytes()) };
}

async function readWhole({ file, offset, byteLength }: TensorLocation): Promise<Uint8Array> {
  const handle = await openFile(file);
  try {
    return await readBytes(handle, file, offset, byteLength);
  } finally {
    await handle.close();
  }
}
