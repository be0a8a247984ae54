// The kernels on a GPU: buffers in, new buffers out.

import type { Tensor } from '../base/tensor.js';
import { checkInteger, wrongType, wrongValue } from '../base/validate.js';
import { type NativeDims, runNative } from '../binding.js';
import { nativeDims } from './arguments.js';
import { cudaIndex } from './cuda.js';
import { allocateOn, DeviceBuffer, type DeviceTensorType } from './deviceBuffer.js';
import { chooseSchedule, keptTokens } from './mergeSchedule.js';

/** What {@link mergeTokens} gives for a {@link DeviceBuffer}: the same, on its GPU. Each is yours to dispose. */
export type MergedDeviceTokens = {
  /** The merged tokens, `[segments, keep, channels]`, of the input's type. */
  readonly tokens: DeviceBuffer;
  /** How many tokens are in each merged token, `[segments, keep]` float32. */
  readonly sizes: DeviceBuffer;
  /** For each input token the merged token that it is in, `[segments, tokens]` int32. */
  readonly assignment: DeviceBuffer;
};

/** Types that the operations compute with. */
type FloatType = Exclude<DeviceTensorType, 'int32'>;

/** A float buffer of the axes `shape`; a number there must be matched. */
function checkBuffer(name: string, buffer: DeviceBuffer, shape: readonly (string | number)[]): FloatType {
  if (buffer.type === 'int32') wrongValue(`${name}.type`, 'float type', buffer.type);
  checkShape(name, buffer, shape);
  return buffer.type;
}

function checkShape(name: string, buffer: DeviceBuffer, shape: readonly (string | number)[]): void {
  const { dims } = buffer;
  const fits =
    dims.length === shape.length && dims.every((size, axis) => typeof shape[axis] === 'string' || shape[axis] === size);
  if (!fits) throw new RangeError(`Expected shape [${shape.join(', ')}] for ${name} but received [${dims.join(', ')}]`);
}

/** A buffer of sizes, all above 0 as the caller warrants: they are on the GPU and are not looked at. */
function checkSizesBuffer(value: unknown, dims: readonly number[]): DeviceBuffer | undefined {
  if (value === undefined) return undefined;
  if (!(value instanceof DeviceBuffer)) wrongType('sizes', 'DeviceBuffer', value);
  if (value.type !== 'float32') wrongValue('sizes.type', "'float32'", value.type);
  checkShape('sizes', value, dims);
  return value;
}

/** Allocates outputs, fills them, and lets them go again when that fails. */
async function produce<T extends Record<string, DeviceBuffer>>(
  make: (allocate: (type: DeviceTensorType, dims: readonly number[]) => DeviceBuffer) => T,
  index: number,
  fill: (outputs: T) => Promise<void>,
): Promise<T> {
  const made: DeviceBuffer[] = [];
  try {
    const outputs = make((type, dims) => {
      const buffer = allocateOn(index, type, dims);
      made.push(buffer);
      return buffer;
    });
    await fill(outputs);
    return outputs;
  } catch (error) {
    for (const buffer of made) buffer.dispose();
    throw error;
  }
}

/** What `mergeTokens()` is told; the GPU takes its sizes from a buffer. */
type MergeOptions = {
  readonly heads: number;
  readonly keep?: number;
  readonly schedule?: readonly number[];
  readonly protect?: number;
  readonly sizes?: unknown;
};

function checkHeads(heads: unknown, channels: number): number {
  const count = checkInteger('heads', heads, 1);
  if (channels % count !== 0) wrongValue('heads', `divisor of the ${channels} channels`, count);
  return count;
}

export async function mergeOnDevice(
  tokens: DeviceBuffer,
  options: MergeOptions,
  signal: AbortSignal | undefined,
): Promise<MergedDeviceTokens> {
  const single = tokens.dims.length === 2;
  const type = checkBuffer('tokens', tokens, single ? ['tokens', 'channels'] : ['segments', 'tokens', 'channels']);
  const dims: NativeDims = nativeDims(single ? [1, ...tokens.dims] : tokens.dims);
  const [segments, count, channels] = dims;
  const heads = checkHeads(options.heads, channels);
  const protect = checkInteger('protect', options.protect ?? 0, 0, count);
  const schedule = chooseSchedule(count, protect, options);
  const kept = keptTokens(count, protect, schedule);
  const leading = single ? [] : [segments];
  const sizes = checkSizesBuffer(options.sizes, [...leading, count]);
  return await produce(
    (allocate) => ({
      tokens: allocate(type, [...leading, kept, channels]),
      sizes: allocate('float32', [...leading, kept]),
      assignment: allocate('int32', [...leading, count]),
    }),
    tokens.deviceIndex,
    async (out) => {
      const args = {
        type,
        dims,
        tokens: tokens.native(),
        heads,
        schedule,
        protect,
        sizes: sizes?.native(),
        outTokens: out.tokens.native(),
        outSizes: out.sizes.native(),
        outAssignment: out.assignment.native(),
      };
      await runNative((native) => native.cudaMergeTokens(args), signal);
    },
  );
}

export type DeviceMatch = {
  readonly unmerged?: DeviceBuffer;
  readonly source?: DeviceBuffer;
  readonly destination?: DeviceBuffer;
  readonly assignment: DeviceBuffer;
};

/** `r` is at most half of the tokens that are not protected. */
export async function matchOnDevice(
  metric: DeviceBuffer,
  r: number,
  protect: number,
  signal: AbortSignal | undefined,
): Promise<DeviceMatch> {
  const type = checkBuffer('metric', metric, ['batch', 'tokens', 'dims']);
  const dims = nativeDims(metric.dims);
  const [batch, tokens] = dims;
  const stay = Math.ceil(tokens / 2) - Math.ceil(protect / 2) - r;
  return (await produce(
    (allocate) => ({
      ...(stay > 0 && { unmerged: allocate('int32', [batch, stay]) }),
      ...(r > 0 && { source: allocate('int32', [batch, r]), destination: allocate('int32', [batch, r]) }),
      assignment: allocate('int32', [batch, tokens]),
    }),
    metric.deviceIndex,
    async (out: Record<string, DeviceBuffer>) => {
      const args = {
        type,
        dims,
        metric: metric.native(),
        r,
        protect,
        outUnmerged: out.unmerged?.native(),
        outSource: out.source?.native(),
        outDestination: out.destination?.native(),
        outAssignment: out.assignment!.native(),
      };
      await runNative((native) => native.cudaBipartiteSoftMatching(args), signal);
    },
  )) as DeviceMatch;
}

export async function mergeByAssignmentOnDevice(
  tensor: DeviceBuffer,
  assignment: DeviceBuffer,
  slots: number,
  options: { readonly sizes?: unknown; readonly mean: boolean },
  signal: AbortSignal | undefined,
): Promise<DeviceBuffer> {
  const [batch, rows] = assignment.dims as [number, number];
  const type = checkBuffer('tensor', tensor, [batch, rows, 'channels']);
  const sizes = checkSizesBuffer(options.sizes, [batch, rows]);
  const dims = nativeDims(tensor.dims);
  const { out } = await produce(
    (allocate) => ({ out: allocate(type, [batch, slots, dims[2]]) }),
    tensor.deviceIndex,
    async (outputs) => {
      const args = {
        type,
        dims,
        tensor: tensor.native(),
        slots,
        assignment: assignment.native(),
        sizes: sizes?.native(),
        mean: options.mean,
        out: outputs.out.native(),
      };
      await runNative((native) => native.cudaMergeByAssignment(args), signal);
    },
  );
  return out;
}

/** `assignment` is `[batch, rows]`; `tensor` has a batch axis or, for a single entry, none. */
export async function spreadOnDevice(
  name: string,
  tensor: DeviceBuffer,
  assignment: DeviceBuffer,
  shape: readonly (string | number)[],
  signal: AbortSignal | undefined,
): Promise<DeviceBuffer> {
  const type = checkBuffer(name, tensor, shape);
  if (assignment.type !== 'int32') wrongValue('assignment.type', "'int32'", assignment.type);
  const single = tensor.dims.length === 2;
  const dims = nativeDims(single ? [1, ...tensor.dims] : tensor.dims);
  checkShape('assignment', assignment, single ? ['tokens'] : [dims[0], 'tokens']);
  const rows = assignment.dims.at(-1)!;
  const { out } = await produce(
    (allocate) => ({ out: allocate(type, [...(single ? [] : [dims[0]]), rows, dims[2]]) }),
    tensor.deviceIndex,
    async (outputs) => {
      const args = {
        type,
        dims,
        tensor: tensor.native(),
        rows,
        assignment: assignment.native(),
        out: outputs.out.native(),
      };
      await runNative((native) => native.cudaSpreadByAssignment(args), signal);
    },
  );
  return out;
}

export async function poolOnDevice(cls: DeviceBuffer, signal: AbortSignal | undefined): Promise<DeviceBuffer> {
  const type = checkBuffer('cls', cls, ['frames', 'layers', 'channels']);
  const dims = nativeDims(cls.dims);
  const { out } = await produce(
    (allocate) => ({ out: allocate(type, dims.slice(1)) }),
    cls.deviceIndex,
    async (outputs) => {
      const args = { type, dims, cls: cls.native(), out: outputs.out.native() };
      await runNative((native) => native.cudaPoolClsTokens(args), signal);
    },
  );
  return out;
}

export async function metricOnDevice(
  tokens: DeviceBuffer,
  heads: unknown,
  signal: AbortSignal | undefined,
): Promise<DeviceBuffer> {
  const type = checkBuffer('tokens', tokens, ['batch', 'tokens', 'channels']);
  const dims = nativeDims(tokens.dims);
  const count = checkHeads(heads, dims[2]);
  const { out } = await produce(
    (allocate) => ({ out: allocate('float32', [dims[0], dims[1], dims[2] / count]) }),
    tokens.deviceIndex,
    async (outputs) => {
      const args = { type, dims, tokens: tokens.native(), heads: count, out: outputs.out.native() };
      await runNative((native) => native.cudaTokenMetric(args), signal);
    },
  );
  return out;
}

/** Where host tensors are computed: the number of a GPU, or undefined for the CPU. */
export function chosenDevice(device: unknown): number | undefined {
  if (device === undefined || device === 'auto' || device === 'cpu') return undefined;
  if (typeof device === 'string' && !/^cuda(:\d+)?$/.test(device))
    wrongValue('device', 'one of auto, cpu, cuda or cuda:N', device);
  return cudaIndex('device', device);
}

/** Computes with host tensors on a GPU: copies them there, and lets all go that was made on the way. */
export async function throughDevice<T>(
  index: number,
  tensors: readonly (Tensor | undefined)[],
  signal: AbortSignal | undefined,
  compute: (buffers: readonly (DeviceBuffer | undefined)[], own: (buffer: DeviceBuffer) => DeviceBuffer) => Promise<T>,
): Promise<T> {
  const owned: DeviceBuffer[] = [];
  const own = (buffer: DeviceBuffer) => {
    owned.push(buffer);
    return buffer;
  };
  const device = `cuda:${index}` as const;
  const transfer = signal === undefined ? { device } : { device, signal };
  try {
    const buffers: (DeviceBuffer | undefined)[] = [];
    for (const tensor of tensors)
      buffers.push(tensor === undefined ? undefined : own(await DeviceBuffer.upload(tensor, transfer)));
    return await compute(buffers, own);
  } finally {
    for (const buffer of owned) buffer.dispose();
  }
}
