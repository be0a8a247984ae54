// A place is the host or a GPU: an operation's tensors are there, and it runs and allocates its results there.

import { types } from 'node:util';
import { elementCount, toFloat32 } from '../base/tensor.js';
import { checkSignal, wrongType, wrongValue } from '../base/validate.js';
import { type NativeBinding, type NativeTask, type NativeTensor, nativeInput, runNative } from '../binding.js';
import { checkFilledTensor } from './arguments.js';
import { allocateOn, arrayOf, DeviceBuffer, type DeviceTensorType, type HostTensor } from './deviceBuffer.js';

export type Placed = HostTensor | DeviceBuffer;

export interface Place {
  /** Checks a tensor of floats with the axes `shape`; a number in it must match exactly. */
  checkFloats(name: string, value: unknown, shape: readonly (string | number)[]): Placed;
  /** Checks the weight of each token, of shape `dims`. Undefined means 1 for each. */
  checkSizes(value: unknown, dims: readonly number[]): NativeTensor | undefined;
  /** Checks an assignment of any number of tokens and returns that number; `leading` are the axes before the tokens. */
  checkAssignment(value: unknown, leading: readonly number[]): number;
  /** Allocates a tensor for a result. */
  allocate(type: DeviceTensorType, dims: readonly number[]): Placed;
  /** Frees all allocated results, after a failure. */
  release(): void;
}

/** @internal */
export const hostPlace: Place = {
  checkFloats: checkFilledTensor,

  checkSizes(value, dims) {
    if (value === undefined) return undefined;
    const { data } = toFloat32(checkFilledTensor('sizes', value, dims));
    for (let index = 0; index < data.length; index++) {
      const size = data[index]!;
      if (!(size > 0 && size < Number.POSITIVE_INFINITY))
        wrongValue(`sizes.data[${index}]`, 'finite number above 0', size);
    }
    return data;
  },

  checkAssignment(value, leading) {
    if (!types.isInt32Array(value)) wrongType('assignment', 'Int32Array', value);
    const segments = elementCount(leading);
    if (value.length === 0 || value.length % segments !== 0)
      wrongValue('assignment.length', `positive multiple of the ${segments} segments`, value.length);
    return value.length / segments;
  },

  allocate(type, dims) {
    return { type, data: new arrayOf[type](elementCount(dims)), dims } as HostTensor;
  },

  release() {},
};

/** The GPU number `index`. Values on it are not checked: the caller guarantees that sizes are above 0. */
class DevicePlace implements Place {
  readonly #index: number;
  readonly #allocated: DeviceBuffer[] = [];

  constructor(index: number) {
    this.#index = index;
  }

  checkFloats(name: string, value: unknown, shape: readonly (string | number)[]): DeviceBuffer {
    const buffer = checkBuffer(name, value);
    if (buffer.type === 'int32' || buffer.type === 'uint8') wrongValue(`${name}.type`, 'float type', buffer.type);
    checkShape(name, buffer, shape);
    return buffer;
  }

  checkSizes(value: unknown, dims: readonly number[]): NativeTensor | undefined {
    if (value === undefined) return undefined;
    const buffer = checkBuffer('sizes', value);
    if (buffer.type !== 'float32') wrongValue('sizes.type', "'float32'", buffer.type);
    checkShape('sizes', buffer, dims);
    return buffer.native();
  }

  checkAssignment(value: unknown, leading: readonly number[]): number {
    const buffer = checkBuffer('assignment', value);
    if (buffer.type !== 'int32') wrongValue('assignment.type', "'int32'", buffer.type);
    checkShape('assignment', buffer, [...leading, 'tokens']);
    return buffer.dims.at(-1)!;
  }

  allocate(type: DeviceTensorType, dims: readonly number[]): DeviceBuffer {
    const buffer = allocateOn(this.#index, type, dims);
    this.#allocated.push(buffer);
    return buffer;
  }

  release(): void {
    for (const buffer of this.#allocated) buffer.dispose();
  }
}

/** @internal */
export function devicePlace(index: number): Place {
  return new DevicePlace(index);
}

function checkBuffer(name: string, value: unknown): DeviceBuffer {
  if (!(value instanceof DeviceBuffer)) wrongType(name, 'DeviceBuffer', value);
  return value;
}

function checkShape(name: string, { dims }: DeviceBuffer, shape: readonly (string | number)[]): void {
  const fits =
    dims.length === shape.length && dims.every((size, axis) => typeof shape[axis] === 'string' || shape[axis] === size);
  if (!fits) throw new RangeError(`Expected shape [${shape.join(', ')}] for ${name} but received [${dims.join(', ')}]`);
}

/** The values of a tensor, for native code. */
export function valuesOf(tensor: Placed | Int32Array): NativeTensor {
  if (tensor instanceof DeviceBuffer) return tensor.native();
  return types.isInt32Array(tensor) ? tensor : tensor.data;
}

/** An operation with checked arguments and allocated results. */
export type Prepared<Args, Result> = { readonly args: Args; readonly result: Result };

/** Arguments whose inputs other threads can read, whatever the caller does to their buffers. */
export function ownInputs<Args>(args: Args): Args {
  const own = Object.entries(args as object).map(([name, value]: [string, unknown]) => {
    // Outputs are nobody else's.
    const isInput = types.isTypedArray(value) && !name.startsWith('out');
    return [name, isInput ? nativeInput(name, value as Float32Array) : value];
  });
  return Object.fromEntries(own) as Args;
}

/**
 * Runs an operation on the host or GPU that holds the tensor `on` (on the host if `on` is not a tensor). On failure or abort,
 * the results that `prepare` allocated are freed.
 */
export async function run<Args, Result>(
  on: unknown,
  signal: unknown,
  prepare: (place: Place) => Prepared<Args, Result>,
  start: (native: NativeBinding, args: Args) => NativeTask,
): Promise<Result> {
  const place = on instanceof DeviceBuffer ? new DevicePlace(on.deviceIndex) : hostPlace;
  try {
    const { args, result } = prepare(place);
    await runNative((native) => start(native, ownInputs(args)), checkSignal(signal));
    return result;
  } catch (error) {
    place.release();
    throw error;
  }
}
