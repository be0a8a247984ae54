import { types } from 'node:util';

/** An element type of a {@link Tensor}. */
export type TensorType = 'float32' | 'float16';

/**
 * A dense row-major tensor.
 *
 * `float16` data are IEEE 754 half-precision bits in a `Uint16Array`, on every release of Node.
 */
export type Tensor = {
  readonly type: TensorType;
  readonly data: Float32Array | Uint16Array;
  readonly dims: readonly number[];
};

/**
 * What functions take for a {@link Tensor}: one, or one whose element type is checked when it is used. What they return is a
 * {@link Tensor}.
 */
export type TensorInput = Tensor | LooseTensor | OnnxTensor;

/**
 * A tensor whose type TypeScript knows as text alone, as that of an object in a variable; or float16 over a `Float16Array`, which newer
 * Nodes have.
 */
export type LooseTensor = {
  readonly type: string;
  readonly data:
    | Float32Array
    | Uint16Array
    | (ArrayBufferView & ArrayLike<number> & { readonly [Symbol.toStringTag]: 'Float16Array' });
  readonly dims: readonly number[];
};

/** An `ort.Tensor` of `onnxruntime-node` or `onnxruntime-web`. */
export type OnnxTensor = {
  readonly type: string;
  readonly data: ArrayBufferView | string[];
  readonly dims: readonly number[];
  readonly location: string;
};

/** A tensor that is known to hold float32 values. */
export type Float32Tensor = { readonly type: 'float32'; readonly data: Float32Array; readonly dims: readonly number[] };

/** Makes a float32 tensor over `data`, without a copy. */
export function float32Tensor(data: Float32Array, dims: readonly number[]): Float32Tensor {
  return { type: 'float32', data, dims };
}

/** The number of elements that `dims` describe. */
export function elementCount(dims: readonly number[]): number {
  return dims.reduce((product, size) => product * size, 1);
}

const halfScratch = new DataView(new ArrayBuffer(4));

/** Converts IEEE 754 half-precision bits to a number. */
export function halfToNumber(bits: number): number {
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The half-precision bits nearest to `value`, ties to even, as hardware rounds. */
export function numberToHalf(value: number): number {
  halfScratch.setFloat32(0, value);
  const bits = halfScratch.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Subnormal or zero: count in units of 2^-24; the product is exact, so only the rounding below rounds.
    const units = Math.abs(value) * 2 ** 24;
    const floor = Math.floor(units);
    const rest = units - floor;
    return sign | (floor + (rest > 0.5 || (rest === 0.5 && floor & 1) ? 1 : 0));
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}

// The values of all 65,536 halves, computed on first use: a tower looks up hundreds of millions of them.
let everyHalf: Float32Array | undefined;

/** Writes the numbers that the bits from `from` to `to` stand for to the same places of `values`. */
export function halvesToNumbers(bits: ArrayLike<number>, values: Float32Array, from: number, to: number): void {
  everyHalf ??= Float32Array.from({ length: 0x10000 }, (_, each) => halfToNumber(each));
  for (let i = from; i < to; i++) values[i] = everyHalf[bits[i]!]!;
}

/** The bits of a Float16Array, which newer Nodes have; anything else as it is. */
export function halfBits<T>(data: T): T | Uint16Array {
  if (!types.isTypedArray(data) || data[Symbol.toStringTag] !== ('Float16Array' as string)) return data;
  return new Uint16Array(data.buffer, data.byteOffset, data.length);
}

/** `tensor` as float32: the tensor itself if it is float32 already, else a converted copy. */
export function toFloat32(tensor: Tensor): Float32Tensor {
  if (tensor.type === 'float32') return tensor as Float32Tensor;
  const { data, dims } = tensor;
  const values = new Float32Array(data.length);
  halvesToNumbers(data, values, 0, values.length);
  return float32Tensor(values, dims);
}
