// Quantised weights, and those that do not lie one value after the other, cannot be run where they lie: they are written out
// once into the cache, as float32 or in sequence.
import { isErrorOf } from '../base/errors.js';
import { dequantize, isQuantized } from '../files/quantizedBlocks.js';
import { readInOrder } from '../files/readInOrder.js';
import type { TensorData } from '../files/safetensors.js';
import { type TensorLocation, type WeightFile, weightsError } from '../files/tensorFile.js';
import { guardedFingerprint } from './fingerprint.js';
import type { CallOptions } from './sharedWork.js';
import { cachedWeights } from './weightsCache.js';

const version = 2;

/**
 * `file` with tensors that can be run: itself where all of them can; else those that cannot lie in a cached file, which is made
 * now when there is none. Tensors of types that cannot be read at all stay as they are.
 *
 * @param options `onProgress` is called with the tensors written, in the stage `convert`, where it is made
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the cache cannot be written; `ERR_LONGVLM_WEIGHTS` when `file` changes
 * meanwhile; what reading `file` throws; `signal.reason`.
 */
export async function withoutQuantization(file: WeightFile, options: CallOptions = {}): Promise<WeightFile> {
  const wanted = [...file.tensors.values()].filter(({ type, view }) => view || isQuantized(type));
  if (wanted.length === 0) return file;
  const names = wanted.map(({ name }) => name);
  const { key, check } = await guardedFingerprint({ version, names }, wanted, options.signal);
  const make = () => Object.fromEntries(wanted.map((tensor) => [tensor.name, plain(tensor, check)]));
  const made = await cachedWeights({ key, source: file.path, type: 'float32', make }, options);
  const tensors = new Map(file.tensors);
  for (const tensor of wanted) {
    const found = made.tensors.get(tensor.name);
    if (found?.shape.join() !== tensor.shape.join())
      throw weightsError(made.path, `damaged: it lacks tensor ${tensor.name}`, 'Remove it, and it is made again.');
    tensors.set(tensor.name, { ...found, madeFrom: tensor });
  }
  return { ...file, tensors };
}

async function inFloats({ name, type, file }: TensorLocation, bytes: Uint8Array): Promise<Float32Array> {
  try {
    return await dequantize(type, bytes);
  } catch (error) {
    if (!isErrorOf(error, 'RangeError')) throw error;
    throw weightsError(file, `tensor ${name} takes more memory than there is`, 'Use a smaller model.');
  }
}

// Read one at a time, when they are written: a tower takes more than a gigabyte.
function plain(tensor: TensorLocation, check: () => Promise<void>): TensorData {
  const { shape, view } = tensor;
  const bytes = async () => {
    const found = await readInOrder(tensor);
    await check();
    return found;
  };
  if (view) return { type: view.type, shape, data: bytes };
  return { type: 'F32', shape, data: async () => inFloats(tensor, await bytes()) };
}
