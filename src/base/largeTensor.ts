// Passes over tensors that may be large, in short turns.
import { inTurns } from './pace.js';
import { type Float32Tensor, float32Tensor, halvesToNumbers, numberToHalf, type Tensor } from './tensor.js';
import { checkFinite, wrongValue } from './validate.js';

const valuesAtOnce = 1 << 16;
/** What rounds to infinity. */
const beyondHalf = 65520;

/** As `toFloat32()`. */
export async function widened(tensor: Tensor): Promise<Float32Tensor> {
  if (tensor.type === 'float32') return tensor as Float32Tensor;
  const { data, dims } = tensor;
  const values = new Float32Array(data.length);
  await inTurns(data.length, valuesAtOnce, (from, to) => halvesToNumbers(data, values, from, to));
  return float32Tensor(values, dims);
}

/** The values of 16-bit floats as float32, which is exact. */
export async function widenedBfloat16(bits: Uint16Array): Promise<Float32Array> {
  const words = new Uint32Array(bits.length);
  await inTurns(bits.length, valuesAtOnce, (from, to) => {
    for (let i = from; i < to; i++) words[i] = bits[i]! << 16;
  });
  return new Float32Array(words.buffer);
}

/** A tensor in half precision. @throws RangeError for a value that it cannot hold */
export async function narrowed(name: string, { data, dims }: Float32Tensor): Promise<Tensor> {
  const halves = new Uint16Array(data.length);
  await inTurns(data.length, valuesAtOnce, (from, to) => {
    for (let i = from; i < to; i++) {
      const value = data[i]!;
      if (Math.abs(value) >= beyondHalf) wrongValue(`type, as ${name} holds ${value}`, "'float32'", 'float16');
      halves[i] = numberToHalf(value);
    }
  });
  return { type: 'float16', data: halves, dims };
}

/** As `checkFinite()`. */
export async function checkAllFinite(name: string, tensor: Float32Tensor, remedy: string): Promise<void> {
  const { data } = tensor;
  await inTurns(data.length, valuesAtOnce, (from, to) => {
    if (!areFinite(data, from, to)) checkFinite(name, tensor, remedy);
  });
}

/** Whether values are finite: x - x is NaN for NaN and infinity, and NaN makes the sum NaN. */
export function areFinite(data: Float32Array, from: number, to: number): boolean {
  let sum = 0;
  for (let i = from; i < to; i++) sum += data[i]! - data[i]!;
  return sum === 0;
}
