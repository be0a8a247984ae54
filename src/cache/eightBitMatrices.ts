// Matrices of linear layers in eight bits: made once from the weights of a model, and kept in the cache.
import { widened } from '../base/largeTensor.js';
import { inTurns } from '../base/pace.js';
import { readFloatTensor, type TensorData } from '../files/safetensors.js';
import { type TensorLocation, weightsError } from '../files/tensorFile.js';
import { guardedFingerprint } from './fingerprint.js';
import type { CallOptions } from './sharedWork.js';
import { cachedWeights } from './weightsCache.js';

/** A matrix [in, out] of integers, and the scale of each of its columns [out]. */
export type EightBits = { readonly values: TensorLocation; readonly scales: TensorLocation };

// Small enough that two products with bytes stay below 2^15, where CPUs without VNNI saturate: the same result on all.
const largest = 63;
const version = 1;
const square = 64;

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
  const { key, check } = await guardedFingerprint({ version, largest, names }, matrices, options.signal);
  const make = () => Object.assign({}, ...matrices.map((matrix) => inEightBits(matrix, check)));
  const { tensors, path } = await cachedWeights({ key: `${key}-int8`, source, type: 'int8', make }, options);
  return new Map(
    names.map((name) => {
      const [values, scales] = [tensors.get(name), tensors.get(`${name}.scales`)];
      if (values && scales) return [name, { values, scales }];
      throw weightsError(path, `damaged: it lacks tensor ${name}`, 'Remove it, and it is made again.');
    }),
  );
}

// Read when they are written, and twice: all of them at once would take as much memory as the model.
function inEightBits(matrix: TensorLocation, check: () => Promise<void>): Record<string, TensorData> {
  const [outputs, inputs] = matrix.shape as [number, number];
  const rows = async () => {
    const read = await readFloatTensor(matrix);
    await check();
    return (await widened(read)).data;
  };
  const scales = async () => {
    const found = await scalesOf(await rows(), inputs);
    if (found.every(Number.isFinite)) return found;
    throw weightsError(matrix.file, `tensor ${matrix.name} holds NaN or infinity`, 'Get the weights anew.');
  };
  return {
    [`${matrix.name}.scales`]: { type: 'F32', shape: [outputs], data: scales },
    [matrix.name]: { type: 'I8', shape: [inputs, outputs], data: async () => integersOf(await rows(), inputs) },
  };
}

// Rows of some 10,000 values are done in a fraction of a turn.
const rowsAtOnce = 16;

async function scalesOf(rows: Float32Array, inputs: number): Promise<Float32Array> {
  const scales = new Float32Array(rows.length / inputs);
  await inTurns(scales.length, rowsAtOnce, (from, to) => {
    for (let output = from; output < to; output++) {
      let magnitude = 0;
      for (let i = output * inputs; i < (output + 1) * inputs; i++) magnitude = Math.max(magnitude, Math.abs(rows[i]!));
      scales[output] = magnitude === 0 ? 1 : magnitude / largest;
    }
  });
  return scales;
}

async function integersOf(rows: Float32Array, inputs: number): Promise<Int8Array> {
  const scales = await scalesOf(rows, inputs);
  const outputs = scales.length;
  const integers = new Int8Array(rows.length);
  // In squares: row after row, each integer would be written to another line of memory.
  const across = Math.ceil(inputs / square);
  await inTurns(Math.ceil(outputs / square) * across, 1, (at) => {
    const [top, left] = [Math.floor(at / across) * square, (at % across) * square];
    for (let output = top; output < Math.min(top + square, outputs); output++) {
      const scale = scales[output]!;
      const right = Math.min(left + square, inputs);
      for (let input = left; input < right; input++)
        integers[input * outputs + output] = Math.round(rows[output * inputs + input]! / scale);
    }
  });
  return integers;
}
