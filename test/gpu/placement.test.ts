// Tensors of one call are in one place, and what is no such tensor never reaches a kernel. Against a GPU where
// LONGVLM_CUDA_LIBRARY names its library, else against the same sources on the CPU.
import { beforeAll, describe, expect, test } from 'vitest';
import { float32Tensor, numberToHalf, type Tensor } from '../../dist/base/tensor.js';
import { binding, type NativeTensor } from '../../dist/binding.js';
import {
  bipartiteSoftMatching,
  DeviceBuffer,
  mergeTokens,
  mergeTokensSync,
  poolClsTokens,
  tokenMetric,
  unmergeTokens,
} from '../../dist/kernels/index.js';
import { randomTensor } from '../kernels/tensors.js';
import { useCudaLibrary } from './cudaLibrary.js';

beforeAll(useCudaLibrary, 900_000);

/** What native code gets of a buffer; not declared for users. */
function nativeOf(buffer: DeviceBuffer): NativeTensor {
  return (buffer as unknown as { native(): NativeTensor }).native();
}

const x = randomTensor(3, [2, 20, 12]);

describe('a call over tensors in two places', () => {
  test('is a wrong type, whichever is elsewhere', async () => {
    const buffer = await DeviceBuffer.upload(x);
    const onHost = await bipartiteSoftMatching(x, 4);
    const onDevice = await bipartiteSoftMatching(buffer, 4);
    const wanted = (name: string) => ({ name: 'TypeError', message: expect.stringMatching(name) });
    await expect(onDevice.merge(x as never)).rejects.toMatchObject(wanted('DeviceBuffer for tensor'));
    await expect(onDevice.unmerge(x as never)).rejects.toMatchObject(wanted('DeviceBuffer for tensor'));
    await expect(onHost.merge(buffer as never)).rejects.toMatchObject(wanted('Float32Array for tensor.data'));
    const sizes = float32Tensor(new Float32Array(40).fill(1), [2, 20]);
    await expect(onDevice.merge(buffer, { sizes: sizes as never })).rejects.toMatchObject(wanted('for sizes'));
    const { assignment } = mergeTokensSync(x, { heads: 1, keep: 3 });
    await expect(unmergeTokens(buffer, assignment as never)).rejects.toMatchObject(wanted('DeviceBuffer for assign'));
    await expect(unmergeTokens(x, onDevice.assignment as never)).rejects.toMatchObject(wanted('Int32Array for assig'));
    for (const used of [buffer, onDevice]) used.dispose();
  });

  test('is refused by native code, too', async () => {
    const onGpu = DeviceBuffer.allocate('float32', [20, 12]);
    const cls = await DeviceBuffer.upload(x);
    const pool = (values: NativeTensor, out: NativeTensor) => () =>
      binding().poolClsTokens({ cls: values, dims: [2, 20, 12], out });
    const elsewhere = { name: 'RangeError', message: 'out is invalid: on another device' };
    expect(pool(x.data, nativeOf(onGpu))).toThrow(expect.objectContaining(elsewhere));
    expect(pool(nativeOf(cls), new Float32Array(240))).toThrow(expect.objectContaining(elsewhere));
    for (const used of [onGpu, cls]) used.dispose();
  });
});

describe('native code', () => {
  const metric = (tokens: unknown, out: unknown) => () =>
    binding().tokenMetric({ tokens: tokens as NativeTensor, dims: [2, 20, 12], heads: 4, out: out as NativeTensor });

  test.each<[string, unknown, unknown, string]>([
    ['no tensor', 3, new Float32Array(120), 'tokens is invalid: neither a typed array nor a device buffer'],
    ['bytes', new Uint8Array(480), new Float32Array(120), 'tokens is invalid: of another element type'],
    ['integers', new Int32Array(480), new Float32Array(120), 'tokens is invalid: of another element type'],
    ['too few', new Float32Array(479), new Float32Array(120), 'tokens is invalid: 479 values where 480 are expected'],
    ['too small an output', x.data, new Float32Array(119), 'out is invalid: 119 values where 120 are expected'],
    ['an output of another type', x.data, new Uint16Array(120), 'out is invalid: of another element type'],
    ['no output', x.data, undefined, 'out is invalid: neither a typed array nor a device buffer'],
  ])('refuses arrays: %s', (_, tokens, out, message) => {
    expect(metric(tokens, out)).toThrow(expect.objectContaining({ name: 'RangeError', message }));
  });

  test('refuses device buffers that do not fit', () => {
    const allocate = (type: 'float32' | 'int32', count: number) => DeviceBuffer.allocate(type, [count]);
    const buffers = [allocate('float32', 480), allocate('int32', 480), allocate('float32', 119)] as const;
    const [tokens, integers, small] = buffers.map(nativeOf);
    expect(metric(integers, tokens)).toThrow('tokens is invalid: of another element type');
    expect(metric(tokens, small)).toThrow('out is invalid: 476 bytes where 480 are needed');
    expect(metric(binding().createTokenMerger(), tokens)).toThrow('tokens is invalid: not a device buffer');
    for (const buffer of buffers) buffer.dispose();
    expect(metric(tokens, small)).toThrow('tokens is invalid: freed');
  });
});

test('an abort or an error on a GPU leaves the buffers of the caller usable', async () => {
  const buffer = await DeviceBuffer.upload(x);
  const reason = new Error('no');
  const signal = AbortSignal.abort(reason);
  await expect(mergeTokens(buffer, { heads: 2, keep: 3, signal })).rejects.toBe(reason);
  await expect(poolClsTokens(buffer, { signal })).rejects.toBe(reason);
  const damaged = { ...x, data: x.data.slice() };
  damaged.data[100] = Number.NaN;
  await buffer.upload(damaged);
  await expect(tokenMetric(buffer, { heads: 2 })).rejects.toMatchObject({ code: 'ERR_LONGVLM_NOT_FINITE' });
  await buffer.upload(x);
  const pooled = await poolClsTokens(buffer);
  expect(await pooled.download()).toEqual(await poolClsTokens(x));
  for (const used of [buffer, pooled]) used.dispose();
});

test("device 'cuda' takes sizes in float16, as the CPU does, and checks them before it copies", async () => {
  const counts = Array.from({ length: 40 }, (_, i) => 1 + (i % 3));
  const sizes: Tensor = { type: 'float16', data: Uint16Array.from(counts, numberToHalf), dims: [2, 20] };
  const options = { heads: 3, keep: 5 };
  const merged = await mergeTokens(x, { ...options, sizes, device: 'cuda' });
  expect(merged.assignment).toEqual(mergeTokensSync(x, { ...options, sizes }).assignment);
  expect(merged.sizes).toEqual(mergeTokensSync(x, { ...options, sizes }).sizes);
  const none = float32Tensor(new Float32Array(40), [2, 20]);
  await expect(mergeTokens(x, { ...options, sizes: none, device: 'cuda' })).rejects.toThrow(
    'Expected finite number above 0 for sizes.data[0] but received 0',
  );
});
