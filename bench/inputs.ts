import type { Tensor, TensorType } from 'longvlm';

const bytesOfAllInputs = 256 * 2 ** 20;

/** Random values between -0.5 and 0.5, or halves of magnitude 0.5 to 1; in shared memory, so that every thread reads them. */
export function randomTensor(type: TensorType, dims: readonly number[], seed = 1): Tensor {
  const length = dims.reduce((product, size) => product * size, 1);
  let state = Math.imul(seed, 0x9e3779b1) | 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state;
  };
  if (type === 'float32') {
    const data = new Float32Array(new SharedArrayBuffer(4 * length));
    for (let i = 0; i < length; i++) data[i] = next() * 2 ** -32;
    return { type, data, dims };
  }
  const data = new Uint16Array(new SharedArrayBuffer(2 * length));
  // 0x3800 to 0x3bff are the halves from 0.5 to 1; the highest bit is the sign.
  for (let i = 0; i < length; i++) data[i] = (next() & 0x83ff) | 0x3800;
  return { type, data, dims };
}

/** Several inputs, together larger than caches are, so that a call finds its input in memory. */
export function inputRing(type: TensorType, dims: readonly number[]): Tensor[] {
  const first = randomTensor(type, dims);
  const count = Math.ceil(bytesOfAllInputs / first.data.byteLength);
  return [first, ...Array.from({ length: count - 1 }, (_, index) => randomTensor(type, dims, index + 2))];
}

/** Cycles through the inputs. */
export function inTurn<T>(values: readonly T[]): () => T {
  let index = 0;
  return () => values[index++ % values.length]!;
}
