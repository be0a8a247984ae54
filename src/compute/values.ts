// Inputs and outputs of graphs, and whose memory they are in.
import { types } from 'node:util';
import { elementCount, type Tensor } from '../base/tensor.js';
import { checkInteger, wrongValue } from '../base/validate.js';
import { DeviceBuffer } from '../kernels/deviceBuffer.js';
import type { DeviceOperation } from '../kernels/deviceOperation.js';

/** A tensor of bytes: decoded pixels. */
export type Uint8Tensor = { readonly type: 'uint8'; readonly data: Uint8Array; readonly dims: readonly number[] };

/** Tensors by the names of a graph's inputs or outputs. */
export type Values = Readonly<Record<string, Tensor | Uint8Tensor | DeviceBuffer>>;

/** Tensors by the names of a graph's outputs. */
export type Outputs = Readonly<Record<string, Tensor | DeviceBuffer>>;

/** A copy between a device buffer and values of the same type and number. */
export type Transfer = { readonly buffer: DeviceBuffer; readonly data: Float32Array | Uint16Array | Uint8Array };

/** What a graph's GPU does besides in one run, which the host waits for once. */
export type DeviceWork = {
  /** Before the graph. The arrays are read until the run has ended in native code: nobody else may have them. */
  readonly uploads?: readonly Transfer[];
  /** Behind the graph. */
  readonly operations?: readonly DeviceOperation[];
  /** In the end. The arrays are the caller's once the promise has settled well. */
  readonly downloads?: readonly Transfer[];
};

type HostTensor = Tensor | Uint8Tensor;

/** The size of all tensors' first axis. @throws RangeError where they do not fit together */
export function commonRows(...values: readonly Values[]): number {
  let rows: number | undefined;
  for (const [name, tensor] of values.flatMap((some) => Object.entries(some))) {
    const first = checkInteger(`${name}.dims[0]`, tensor.dims[0], 0);
    rows ??= first;
    if (first !== rows) wrongValue(`${name}.dims[0]`, `${rows}, the first axis of the first input,`, first);
    if (tensor instanceof DeviceBuffer) continue;
    const count = elementCount(tensor.dims);
    if (tensor.data.length !== count)
      wrongValue(`${name}.data.length`, `${count}, as its dims say,`, tensor.data.length);
  }
  return rows ?? 0;
}

/**
 * The same tensors, in memory that nobody else can change or free while native code works on it: the buffers of the outputs
 * and, with `move`, of the inputs are detached for their owner; other inputs, and views of a larger buffer, are copied.
 * Device buffers stay what they are: native code holds on to their memory.
 */
export function takeOver<O extends Outputs>(inputs: Values, outputs: O, move: boolean): { inputs: Values; outputs: O } {
  const host: Record<string, HostTensor> = {};
  const device: Record<string, DeviceBuffer> = {};
  const add = (key: string, tensor: HostTensor | DeviceBuffer, moved: boolean) => {
    if (tensor instanceof DeviceBuffer) device[key] = tensor;
    else host[key] = moved ? plain(tensor) : copied(tensor);
  };
  for (const [name, tensor] of Object.entries(inputs)) add(`input ${name}`, tensor, move && ownsBuffer(tensor));
  for (const [name, tensor] of Object.entries(outputs)) add(`output ${name}`, tensor, true);
  const buffers = new Set(Object.values(host).map(({ data }) => data.buffer as ArrayBuffer));
  const taken: Record<string, unknown> = { ...structuredClone(host, { transfer: [...buffers] }), ...device };
  const named = (kind: string, values: Values) =>
    Object.fromEntries(Object.keys(values).map((name) => [name, taken[`${kind} ${name}`]]));
  return { inputs: named('input', inputs) as Values, outputs: named('output', outputs) as O };
}

/** Whether a tensor covers its whole buffer, so that the buffer can be transferred. */
function ownsBuffer(tensor: HostTensor | DeviceBuffer): boolean {
  if (tensor instanceof DeviceBuffer) return false;
  const { data } = tensor;
  return types.isArrayBuffer(data.buffer) && data.byteLength === data.buffer.byteLength;
}

function plain({ type, data, dims }: HostTensor): HostTensor {
  return { type, data, dims: [...dims] } as HostTensor;
}

function copied({ type, data, dims }: HostTensor): HostTensor {
  return { type, data: data.slice(), dims: [...dims] } as HostTensor;
}
