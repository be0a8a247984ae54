// Reads tensors whose elements do not lie one after the other: transposed, sliced or expanded views.
import { Pace } from '../base/pace.js';
import { openRegularFile } from '../base/regularFile.js';
import { bytesPerElement, readBytes, type TensorLocation, weightsError } from './tensorFile.js';
import { spanOf } from './torchObjects.js';

const arrays = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array } as const;

/** The bytes of a tensor's values in sequence, row-major. @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS` */
export async function readInOrder(location: TensorLocation): Promise<Uint8Array<ArrayBuffer>> {
  const { file, offset, byteLength, shape, view } = location;
  const handle = await openRegularFile(file);
  try {
    if (!view) return await readBytes(handle, file, offset, byteLength);
    const bytes = bytesPerElement(view.type)! as keyof typeof arrays;
    const span = await readBytes(handle, file, offset, spanOf(shape, view.strides) * bytes);
    return await inOrder(new arrays[bytes](span.buffer), shape, view.strides, file);
  } finally {
    await handle.close();
  }
}

/** @param lying everything from the first to the last element of the view */
async function inOrder(
  lying: InstanceType<(typeof arrays)[keyof typeof arrays]>,
  shape: readonly number[],
  strides: readonly number[],
  file: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const count = shape.reduce((product, size) => product * size, 1);
  const Values = lying.constructor as new (length: number) => typeof lying;
  let values: typeof lying;
  try {
    values = new Values(count);
  } catch {
    throw weightsError(file, `${count} values of it are more than this machine can hold`, 'Use a smaller model.');
  }
  const axes = shape.length;
  const index = new Array<number>(axes).fill(0);
  const pace = new Pace();
  for (let to = 0, from = 0; to < count; to++) {
    if (to % 65_536 === 0 && pace.isDue) await pace.rest();
    values[to] = lying[from]!;
    for (let axis = axes - 1; axis >= 0; axis--) {
      index[axis]!++;
      from += strides[axis]!;
      if (index[axis]! < shape[axis]!) break;
      from -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return new Uint8Array(values.buffer as ArrayBuffer);
}
