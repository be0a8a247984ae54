import { types } from 'node:util';
import { LongVLMError } from '../base/errors.js';
import { elementCount, halfBits, type LooseTensor, type OnnxTensor, type Tensor } from '../base/tensor.js';
import {
  checkInteger,
  checkObject,
  checkOneOf,
  checkSignal,
  isArray,
  isReadable,
  listed,
  wrongType,
  wrongValue,
} from '../base/validate.js';
import { binding, fromNative, type NativeDeviceBuffer, nativeInput, runNative } from '../binding.js';
import { cudaIndex, cudaLibrary, type Device } from './cuda.js';

/** An element type of a {@link DeviceBuffer}. */
export type DeviceTensorType = 'float32' | 'float16' | 'bfloat16' | 'int32' | 'uint8';

/**
 * A tensor that can be copied to a GPU: a {@link Tensor}, a bfloat16 tensor (bits in a `Uint16Array`), an int32 tensor, or
 * one of bytes.
 */
export type HostTensor =
  | Tensor
  | { readonly type: 'bfloat16'; readonly data: Uint16Array; readonly dims: readonly number[] }
  | { readonly type: 'int32'; readonly data: Int32Array; readonly dims: readonly number[] }
  | { readonly type: 'uint8'; readonly data: Uint8Array; readonly dims: readonly number[] };

export type DeviceBufferOptions = {
  /**
   * The GPU: `'cuda'` is the first, `'cuda:1'` the second.
   *
   * Defaults to `'cuda'`.
   */
  readonly device?: Exclude<Device, 'cpu'>;
};

export type TransferOptions = {
  /** Stops the copying; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | null;
};

/** @internal The array that the values of a tensor are in on the host. */
export const arrayOf = {
  float32: Float32Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int32: Int32Array,
  uint8: Uint8Array,
} as const;
const elementTypes = Object.keys(arrayOf) as DeviceTensorType[];

const mostAxes = 64;

/**
 * A tensor in the memory of a GPU. Kernels accept it instead of a {@link Tensor} and return their results as device buffers,
 * so data stays on the GPU between calls.
 *
 * Dispose it when it is no longer needed: the garbage collector frees it too, but does not know its size.
 *
 * @example
 * const patches = await DeviceBuffer.upload({ type: 'float16', data, dims: [10, 2560, 1024] });
 * const merged = await mergeTokens(patches, { heads: 16, keep: 30 });
 * const tokens = await merged.tokens.download(); // [10, 30, 1024]
 * for (const buffer of [patches, merged.tokens, merged.sizes, merged.assignment]) buffer.dispose();
 */
export class DeviceBuffer {
  readonly type: DeviceTensorType;
  readonly dims: readonly number[];
  /** The number of the GPU that holds the tensor. */
  readonly deviceIndex: number;
  #native: NativeDeviceBuffer | undefined;

  /** No proxy, and no object that only has the prototype. @internal */
  static [Symbol.hasInstance](value: unknown): value is DeviceBuffer {
    return typeof value === 'object' && value !== null && #native in value;
  }

  private constructor(native: NativeDeviceBuffer, type: DeviceTensorType, dims: readonly number[], index: number) {
    this.#native = native;
    this.type = type;
    this.dims = dims;
    this.deviceIndex = index;
  }

  /**
   * Allocates memory for a tensor, without initialising it.
   *
   * @param dims sizes of its axes, each at least 1
   * @throws TypeError or RangeError when an argument is wrong
   * @throws LongVLMError `ERR_LONGVLM_CUDA` when there is no such GPU, `ERR_LONGVLM_CUDA_OOM` when its memory is full
   */
  static allocate(type: DeviceTensorType, dims: readonly number[], options: DeviceBufferOptions = {}): DeviceBuffer {
    checkOneOf('type', type, elementTypes);
    const sizes = checkSizes(dims);
    checkObject('options', options);
    return allocateOn(cudaIndex('device', options.device ?? 'cuda'), type, sizes);
  }

  /**
   * Copies a tensor to a GPU. Do not write to the tensor until the promise settles.
   *
   * @throws as {@link DeviceBuffer.allocate} does
   */
  static async upload(
    tensor: HostTensor | LooseTensor | OnnxTensor,
    options: DeviceBufferOptions & TransferOptions = {},
  ): Promise<DeviceBuffer> {
    if (!isReadable(tensor)) wrongType('tensor', 'Tensor', tensor);
    checkObject('options', options);
    checkSignal(options.signal)?.throwIfAborted();
    const buffer = DeviceBuffer.allocate(tensor.type as DeviceTensorType, tensor.dims, options);
    try {
      await buffer.upload(tensor, options);
      return buffer;
    } catch (error) {
      buffer.dispose();
      throw error;
    }
  }

  /** @internal */
  static of(native: NativeDeviceBuffer, type: DeviceTensorType, dims: readonly number[], index: number): DeviceBuffer {
    return new DeviceBuffer(native, type, dims, index);
  }

  /** Whether {@link dispose} was called. */
  get disposed(): boolean {
    return this.#native === undefined;
  }

  /** Size in bytes. */
  get bytes(): number {
    return elementCount(this.dims) * arrayOf[this.type].BYTES_PER_ELEMENT;
  }

  /**
   * Overwrites the buffer with a tensor of the same type and shape.
   *
   * @throws TypeError or RangeError when the tensor is of another kind; LongVLMError `ERR_LONGVLM_DISPOSED`
   */
  async upload(tensor: HostTensor | LooseTensor | OnnxTensor, options: TransferOptions = {}): Promise<void> {
    const native = this.native();
    if (!isReadable(tensor)) wrongType('tensor', 'Tensor', tensor);
    checkObject('options', options);
    const { type, dims } = tensor;
    if (type !== this.type) wrongValue('tensor.type', `'${this.type}'`, type);
    const expected = arrayOf[this.type];
    const data: unknown = type === 'float16' ? halfBits(tensor.data) : tensor.data;
    if (!types.isTypedArray(data) || data[Symbol.toStringTag] !== expected.name)
      wrongType('tensor.data', expected.name, data);
    if (!isArray(dims)) wrongType('tensor.dims', 'array', dims);
    if (dims.length !== this.dims.length || !this.dims.every((size, axis) => size === dims[axis]))
      throw new RangeError(`Expected shape [${this.dims.join(', ')}] for tensor but received [${listed(dims)}]`);
    if (data.length !== elementCount(this.dims))
      wrongValue('tensor.data.length', String(elementCount(this.dims)), data.length);
    const own = nativeInput('tensor.data', data as Float32Array);
    await runNative((addon) => addon.uploadToDevice({ buffer: native, data: own }), checkSignal(options.signal));
  }

  /**
   * Copies the buffer to the host.
   *
   * @throws LongVLMError `ERR_LONGVLM_DISPOSED`, `ERR_LONGVLM_CUDA`
   */
  async download(options: TransferOptions = {}): Promise<HostTensor> {
    const native = this.native();
    checkObject('options', options);
    const out = new arrayOf[this.type](elementCount(this.dims));
    await runNative((addon) => addon.downloadFromDevice({ buffer: native, out }), checkSignal(options.signal));
    return { type: this.type, data: out, dims: this.dims } as HostTensor;
  }

  /**
   * The same memory, seen with other axes: `[frames, patches, channels]` as `[1, frames * patches, channels]`, for example. It
   * ends when this buffer is disposed; dispose one of the two.
   *
   * @throws TypeError or RangeError for axes with another number of values; LongVLMError `ERR_LONGVLM_DISPOSED`
   */
  reshape(dims: readonly number[]): DeviceBuffer {
    const sizes = checkSizes(dims);
    const values = elementCount(this.dims);
    if (elementCount(sizes) !== values) wrongValue('dims', `axes of ${values} values together`, listed(sizes));
    return new DeviceBuffer(this.native(), this.type, sizes, this.deviceIndex);
  }

  /** Rows `[from, to)` of the first axis, in the same memory, which stays until both are disposed. @internal */
  rows(from: number, to: number): DeviceBuffer {
    const [count, ...row] = this.dims as [number, ...number[]];
    checkInteger('to', to, checkInteger('from', from, 0, count - 1) + 1, count);
    const values = elementCount(row);
    const view = { buffer: this.native(), from: from * values, count: (to - from) * values };
    return new DeviceBuffer(binding().viewDeviceBuffer(view), this.type, [to - from, ...row], this.deviceIndex);
  }

  /** As {@link download} does, while the calling thread waits. @internal */
  downloadSync(): HostTensor {
    const out = new arrayOf[this.type](elementCount(this.dims));
    try {
      binding().downloadFromDeviceSync({ buffer: this.native(), out });
    } catch (error) {
      throw fromNative(error);
    }
    return { type: this.type, data: out, dims: this.dims } as HostTensor;
  }

  /** Releases the memory once running work has finished. Safe to call twice. */
  dispose(): void {
    if (this.#native === undefined) return;
    binding().freeDeviceBuffer({ buffer: this.#native });
    this.#native = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal */
  native(): NativeDeviceBuffer {
    if (this.#native === undefined)
      throw new LongVLMError('ERR_LONGVLM_DISPOSED', 'This DeviceBuffer was disposed. Upload its tensor again.');
    return this.#native;
  }
}

function checkSizes(dims: unknown): number[] {
  if (!isArray(dims)) wrongType('dims', 'array', dims);
  const sizes = Array.from(dims.slice(0, mostAxes + 1), (size, axis) => checkInteger(`dims[${axis}]`, size, 1));
  if (sizes.length > mostAxes) wrongValue('dims.length', `at most ${mostAxes} axes`, dims.length);
  return sizes;
}

/** @internal Allocates a buffer on GPU number `index`. */
export function allocateOn(index: number, type: DeviceTensorType, dims: readonly number[]): DeviceBuffer {
  const library = cudaLibrary(index);
  try {
    const native = binding().allocateDeviceBuffer({ library, device: index, type, count: elementCount(dims) });
    return DeviceBuffer.of(native, type, dims, index);
  } catch (error) {
    throw fromNative(error);
  }
}
