// Matrices of linear layers in eight bits: made once from the weights of a model, and kept in the cache.
import { openRegularFile } from '../base/regularFile.js';
import { severalAtOnce } from '../base/severalAtOnce.js';
import { runNative } from '../binding.js';
import { poolThreads } from '../files/fileContent.js';
import type { TensorData } from '../files/safetensors.js';
import { allocated, floatType, readInto, type TensorLocation, weightsError } from '../files/tensorFile.js';
import { guardedFingerprint } from './fingerprint.js';
import type { CallOptions } from './sharedWork.js';
import { cachedWeights } from './weightsCache.js';

/** A matrix [in, out] of integers, and the scale of each of its columns [out]. */
export type EightBits = { readonly values: TensorLocation; readonly scales: TensorLocation };

// The largest integer is a constant of the native code: another one needs another version.
const rounding = { version: 1, largest: 63 };

/**
 * Matrices [out, in] as integers, each output with a scale of its own, by the matrices' names.
 * @param source the file or folder that they are from, for whoever lists the cache
 * @param options `onProgress` is called with the tensors written, in the stage `convert`, where they are made
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the cache cannot be written, `ERR_LONGVLM_WEIGHTS` for a matrix with NaN or
 * infinity; what reading the matrices throws; `signal.reason`.
 */
export async function toEightBits(
  matrices: readonly TensorLocation[],
  source: string,
  options: CallOptions = {},
): Promise<ReadonlyMap<string, EightBits>> {
  const names = matrices.map(({ name }) => name);
  const { key, check } = await guardedFingerprint({ ...rounding, names }, matrices, options.signal);
  const buffers = Array.from({ length: poolThreads }, () => ({ bytes: new Uint8Array(0) }));
  const make = (signal: AbortSignal) =>
    Object.assign({}, ...matrices.map((matrix) => inEightBits(matrix, buffers, check, signal)));
  const { tensors, path } = await cachedWeights({ key: `${key}-int8`, source, type: 'int8', make }, options);
  return new Map(
    names.map((name) => {
      const [values, scales] = [tensors.get(name), tensors.get(`${name}.scales`)];
      if (values && scales) return [name, { values, scales }];
      throw weightsError(path, `damaged: it lacks tensor ${name}`, 'Remove it, and it is made again.');
    }),
  );
}

// Read when they are written: all of them at once would take as much memory as the model.
function inEightBits(
  matrix: TensorLocation,
  buffers: readonly BandBuffer[],
  check: () => Promise<void>,
  signal: AbortSignal,
): Record<string, TensorData> {
  const [outputs, inputs] = matrix.shape as [number, number];
  let scales: Float32Array | undefined;
  const values = async () => {
    const made = await rounded(matrix, buffers, signal);
    await check();
    scales = made.scales;
    if (scales.every(Number.isFinite)) return made.values;
    throw weightsError(matrix.file, `tensor ${matrix.name} holds NaN or infinity`, 'Get the weights anew.');
  };
  return {
    [matrix.name]: { type: 'I8', shape: [inputs, outputs], data: values },
    [`${matrix.name}.scales`]: { type: 'F32', shape: [outputs], data: async () => scales! },
  };
}

type BandBuffer = { bytes: Uint8Array<ArrayBuffer> };

const bandBytes = 2 << 20;
// Lines of memory, of which each is written by one thread.
const fewestRows = 64;

/** Reads a matrix band by band, and rounds bands on all cores while others are read. */
async function rounded(
  matrix: TensorLocation,
  buffers: readonly BandBuffer[],
  signal: AbortSignal,
): Promise<{ readonly values: Uint8Array; readonly scales: Float32Array }> {
  const { file, offset, byteLength, shape } = matrix;
  const type = floatType(matrix);
  const [outputs, inputs] = shape as [number, number];
  const rowBytes = byteLength / outputs;
  const rows = Math.max(1, Math.floor(bandBytes / rowBytes / fewestRows)) * fewestRows;
  const values = allocated(file, outputs * inputs);
  const scales = new Float32Array(outputs);
  const handle = await openRegularFile(file);
  try {
    const bands = Array.from({ length: Math.ceil(outputs / rows) }, (_, band) => band * rows);
    await severalAtOnce(bands, buffers.length, async (first, place) => {
      signal.throwIfAborted();
      const count = Math.min(rows, outputs - first);
      const buffer = buffers[place]!;
      if (buffer.bytes.byteLength < count * rowBytes) buffer.bytes = allocated(file, count * rowBytes);
      const bytes = buffer.bytes.subarray(0, count * rowBytes);
      await readInto(bytes, handle, file, offset + first * rowBytes);
      const args = { rows: bytes, type, first, outValues: values, outScales: scales };
      await runNative((native) => native.roundToEightBits({ ...args, dims: [count, outputs, inputs] }), signal);
    });
  } finally {
    await handle.close();
  }
  return { values, scales };
}
