// The kernels on device buffers. Against a GPU where LONGVLM_CUDA_LIBRARY names its library, else against the same
// sources on the CPU.
import { beforeAll, describe, expect, test } from 'vitest';
import { float32Tensor, type Tensor } from '../../dist/base/tensor.js';
import {
  bipartiteSoftMatching,
  cudaDevices,
  DeviceBuffer,
  type DeviceMatching,
  type HostTensor,
  mergeTokens,
  mergeTokensSync,
  poolClsTokens,
  tokenMetric,
  unmergeTokens,
} from '../../dist/kernels/index.js';
import { expectGolden, goldenNames, loadGolden } from '../kernels/golden.js';
import { randomTensor, relativeError, toHalf, values } from '../kernels/tensors.js';
import { useCudaLibrary } from './cudaLibrary.js';

beforeAll(useCudaLibrary, 900_000);

const ints = async (buffer: DeviceBuffer | undefined) => [...((await buffer?.download())?.data ?? [])];

/** Downloads and disposes. */
async function take(buffer: DeviceBuffer): Promise<Tensor> {
  const tensor = await buffer.download();
  buffer.dispose();
  return tensor as Tensor;
}

test('cudaDevices() tells what there is', () => {
  const devices = cudaDevices();
  expect(devices.length).toBeGreaterThan(0);
  for (const [index, device] of devices.entries()) {
    expect(device).toMatchObject({
      index,
      name: expect.any(String),
      computeCapability: expect.stringMatching(/^\d+\.\d+$/),
    });
    expect(device.totalBytes).toBeGreaterThanOrEqual(device.freeBytes);
  }
});

describe('DeviceBuffer', () => {
  // Around the halves of the memory that copies go through.
  test.each([1, 1000, (4 << 20) / 4, (4 << 20) / 4 + 1, (12 << 20) / 4 + 7])(
    'brings back %i values as they were',
    async (count) => {
      const x = randomTensor(count, [count]);
      const buffer = await DeviceBuffer.upload(x);
      expect(buffer).toMatchObject({
        type: 'float32',
        dims: [count],
        bytes: 4 * count,
        deviceIndex: 0,
        disposed: false,
      });
      x.data[0] = 42;
      expect((await buffer.download()).data[0]).not.toBe(42);
      await buffer.upload(x);
      const back = await buffer.download();
      expect(back.dims).toEqual(x.dims);
      expect(Buffer.from(back.data.buffer).equals(Buffer.from(x.data.buffer))).toBe(true);
      buffer.dispose();
    },
  );

  test('holds every type', async () => {
    const tensors: HostTensor[] = [
      { type: 'float16', data: Uint16Array.of(1, 2, 3), dims: [3] },
      { type: 'bfloat16', data: Uint16Array.of(0x3f80, 2, 0xffff), dims: [3, 1] },
      { type: 'int32', data: Int32Array.of(-1, 2 ** 31 - 1), dims: [1, 2] },
    ];
    for (const tensor of tensors) {
      const buffer = await DeviceBuffer.upload(tensor, { device: 'cuda:0' });
      expect(await buffer.download()).toEqual(tensor);
      buffer[Symbol.dispose]();
      expect(buffer.disposed).toBe(true);
    }
  });

  test('is refused after dispose(), which may come during work', async () => {
    const buffer = await DeviceBuffer.upload(randomTensor(1, [3_000_000]));
    const under = buffer.download();
    buffer.dispose();
    buffer.dispose();
    expect((await under).dims).toEqual([3_000_000]);
    const error = { name: 'LongVLMError', code: 'ERR_LONGVLM_DISPOSED' };
    await expect(buffer.download()).rejects.toMatchObject(error);
    await expect(buffer.upload(randomTensor(1, [3_000_000]))).rejects.toMatchObject(error);
    await expect(mergeTokens(DeviceBufferOf([4, 4]), { heads: 1, keep: 2 })).rejects.toMatchObject(error);
  });

  function DeviceBufferOf(dims: readonly number[]): DeviceBuffer {
    const buffer = DeviceBuffer.allocate('float32', dims);
    buffer.dispose();
    return buffer;
  }

  test('stops at an abort', async () => {
    const signal = AbortSignal.abort(new Error('no'));
    await expect(DeviceBuffer.upload(randomTensor(1, [9]), { signal })).rejects.toThrow('no');
    const buffer = DeviceBuffer.allocate('float32', [9]);
    await expect(buffer.download({ signal })).rejects.toThrow('no');
    buffer.dispose();
  });

  test('says that memory is full', () => {
    expect(() => DeviceBuffer.allocate('float32', [2 ** 20, 2 ** 22])).toThrow(
      expect.objectContaining({ name: 'LongVLMError', code: 'ERR_LONGVLM_CUDA_OOM' }),
    );
  });

  test('rejects wrong arguments', async () => {
    expect(() => DeviceBuffer.allocate('float64' as never, [1])).toThrow(/one of float32, .* for type/);
    expect(() => DeviceBuffer.allocate('float32', [0])).toThrow(/positive integer for dims\[0\] but received 0/);
    expect(() => DeviceBuffer.allocate('float32', [1], { device: 'cpu' as never })).toThrow(
      /'cuda' or 'cuda:N' for device/,
    );
    expect(() => DeviceBuffer.allocate('float32', [1], { device: 'cuda:99' })).toThrow(
      /no GPU cuda:99. There are: cuda:0/,
    );
    await expect(DeviceBuffer.upload(undefined as never)).rejects.toThrow(/Tensor for tensor but received undefined/);
    await expect(
      DeviceBuffer.upload({ type: 'float32', data: new Uint16Array(1), dims: [1] } as never),
    ).rejects.toThrow(/Float32Array for tensor.data/);
    const buffer = DeviceBuffer.allocate('float32', [2, 2]);
    await expect(buffer.upload(randomTensor(1, [4]))).rejects.toThrow(
      /Expected shape \[2, 2\] for tensor but received \[4\]/,
    );
    await expect(buffer.upload({ ...randomTensor(1, [4]), dims: [2, 2], data: new Float32Array(3) })).rejects.toThrow(
      /4 for/,
    );
    buffer.dispose();
  });
});

describe('mergeTokens() on a device buffer', () => {
  test.each(goldenNames)('gives what the reference gives for %s', async (name) => {
    const golden = await loadGolden(name);
    const { heads, schedule } = golden;
    const buffer = await DeviceBuffer.upload(golden.tokens);
    const merged = await mergeTokens(buffer, { heads, schedule });
    buffer.dispose();
    const tokens = await take(merged.tokens);
    const sizes = await take(merged.sizes);
    const assignment = await take(merged.assignment);
    expectGolden(golden, { dims: tokens.dims, tokens: tokens.data, sizes: sizes.data, assignment: assignment.data });
  });

  test('gives what the CPU gives, with sizes and protected tokens, in float32 and float16', async () => {
    const x = randomTensor(5, [3, 131, 40]);
    const sizes = float32Tensor(
      Float32Array.from({ length: 393 }, (_, i) => 1 + (i % 3)),
      [3, 131],
    );
    for (const tokens of [x, toHalf(x)]) {
      const options = { heads: 5, keep: 9, protect: 3 };
      const expected = mergeTokensSync(tokens, { ...options, sizes });
      const [buffer, weights] = [await DeviceBuffer.upload(tokens), await DeviceBuffer.upload(sizes)];
      const merged = await mergeTokens(buffer, { ...options, sizes: weights });
      expect(await ints(merged.assignment)).toEqual([...expected.assignment]);
      expect(await take(merged.sizes)).toEqual(expected.sizes);
      const result = await take(merged.tokens);
      expect(result).toMatchObject({ type: tokens.type, dims: [3, 9, 40] });
      expect(relativeError(values(result), values(expected.tokens))).toBeLessThan(tokens === x ? 1e-7 : 2 ** -10);
      for (const used of [buffer, weights, merged.assignment]) used.dispose();
    }
  });

  test('takes bfloat16, and a single segment without its axis', async () => {
    const x = randomTensor(6, [60, 16]);
    const bits = Uint16Array.from(new Uint32Array(x.data.buffer), (word) => word >>> 16);
    const widened = new Float32Array(new Uint32Array(Array.from(bits, (half) => half << 16)).buffer);
    const buffer = await DeviceBuffer.upload({ type: 'bfloat16', data: bits, dims: [60, 16] });
    const merged = await mergeTokens(buffer, { heads: 2, keep: 5 });
    const expected = mergeTokensSync(float32Tensor(widened, [60, 16]), { heads: 2, keep: 5 });
    expect(merged.tokens).toMatchObject({ type: 'bfloat16', dims: [5, 16] });
    expect(merged.sizes.dims).toEqual([5]);
    expect(await ints(merged.assignment)).toEqual([...expected.assignment]);
    const tokens = new Float32Array(
      new Uint32Array(Array.from(await ints(merged.tokens), (half) => half << 16)).buffer,
    );
    expect(relativeError(tokens, expected.tokens.data)).toBeLessThan(2 ** -8);
    for (const used of [buffer, ...Object.values(merged)]) used.dispose();
  });

  test("device 'cuda' copies there and back", async () => {
    const x = randomTensor(7, [2, 90, 24]);
    const options = { heads: 2, keep: 6 };
    const expected = mergeTokensSync(x, options);
    const merged = await mergeTokens(x, { ...options, device: 'cuda' });
    expect(merged.assignment).toEqual(expected.assignment);
    expect(merged.sizes).toEqual(expected.sizes);
    expect(merged.tokens.dims).toEqual(expected.tokens.dims);
    expect(relativeError(merged.tokens.data, expected.tokens.data)).toBeLessThan(1e-7);
  });

  test('says where NaN or infinity is', async () => {
    const x = randomTensor(8, [2, 50, 12]);
    x.data[(50 + 31) * 12 + 7] = Number.NaN;
    x.data[(50 + 40) * 12] = Number.POSITIVE_INFINITY;
    const error = {
      name: 'LongVLMError',
      code: 'ERR_LONGVLM_NOT_FINITE',
      message: expect.stringContaining('tokens holds NaN or infinity at segment 1, token 31, channel 7.'),
    };
    await expect(mergeTokens(x, { heads: 3, keep: 4, device: 'cuda' })).rejects.toMatchObject(error);
    // The next call finds nothing of it.
    expect(
      (await mergeTokens(randomTensor(8, [2, 50, 12]), { heads: 3, keep: 4, device: 'cuda' })).tokens.dims,
    ).toEqual([2, 4, 12]);
  });

  test('rejects wrong arguments', async () => {
    const buffer = await DeviceBuffer.upload(randomTensor(1, [2, 20, 12]));
    const integers = DeviceBuffer.allocate('int32', [2, 20, 12]);
    await expect(mergeTokens(integers, { heads: 1, keep: 3 })).rejects.toThrow(
      /float type for tokens.type but received 'int32'/,
    );
    await expect(mergeTokens(buffer, { heads: 5, keep: 3 })).rejects.toThrow(/divisor of the 12 channels for heads/);
    await expect(mergeTokens(buffer, { heads: 1 })).rejects.toThrow(/either keep or schedule/);
    await expect(mergeTokens(buffer, { heads: 1, keep: 3, sizes: buffer })).rejects.toThrow(
      /Expected shape \[2, 20\] for sizes/,
    );
    await expect(mergeTokens(buffer, { heads: 1, keep: 3, sizes: randomTensor(1, [2, 20]) as never })).rejects.toThrow(
      /DeviceBuffer for sizes/,
    );
    buffer.dispose();
    integers.dispose();
  });
});

describe('the other kernels on device buffers', () => {
  test.each([
    [2, 33, 12, 7, 0],
    [1, 64, 5, 32, 0],
    [2, 21, 8, 100, 3],
    [1, 9, 4, 0, 0],
  ])(
    'match, merge and unmerge %i × %i tokens of %i dimensions, r = %i, %i protected',
    async (batch, tokens, dims, r, protect) => {
      const metric = randomTensor(tokens, [batch, tokens, dims]);
      const x = randomTensor(r, [batch, tokens, 10]);
      const expected = await bipartiteSoftMatching(metric, r, { protect });
      const onDevice = await DeviceBuffer.upload(metric);
      const matching: DeviceMatching = await bipartiteSoftMatching(onDevice, r, { protect });
      expect(matching).toMatchObject({ batch, inputTokens: tokens, protect, r: expected.r, tokens: expected.tokens });
      expect(await ints(matching.unmerged)).toEqual([...expected.unmerged]);
      expect(await ints(matching.source)).toEqual([...expected.source]);
      expect(await ints(matching.destination)).toEqual([...expected.destination]);
      expect(await ints(matching.assignment)).toEqual([...expected.assignment]);

      const buffer = await DeviceBuffer.upload(x);
      const sizes = float32Tensor(
        Float32Array.from({ length: batch * tokens }, (_, i) => 1 + i),
        [batch, tokens],
      );
      const weights = await DeviceBuffer.upload(sizes);
      for (const mode of ['mean', 'sum'] as const) {
        const merged = await matching.merge(buffer, { sizes: weights, mode });
        const onCpu = await expected.merge(x, { sizes, mode });
        expect(merged.dims).toEqual(onCpu.dims);
        const back = await matching.unmerge(merged);
        const result = await take(merged);
        expect(relativeError(result.data, onCpu.data)).toBeLessThan(1e-7);
        expect(await take(back)).toEqual(await expected.unmerge(result));
      }
      for (const used of [onDevice, buffer, weights, matching]) used.dispose();
      expect(matching.assignment.disposed).toBe(true);
    },
  );

  test('pool, average over heads, and bring merged tokens back', async () => {
    const x = randomTensor(9, [7, 30, 16]);
    const buffer = await DeviceBuffer.upload(x);
    const pooled = await take(await poolClsTokens(buffer));
    expect(pooled).toEqual(await poolClsTokens(x));
    const metric = await take(await tokenMetric(buffer, { heads: 4 }));
    expect(metric).toEqual(await tokenMetric(x, { heads: 4 }));
    const merged = await mergeTokens(buffer, { heads: 4, keep: 3 });
    const back = await unmergeTokens(merged.tokens, merged.assignment);
    const assignment = Int32Array.from(await ints(merged.assignment));
    expect(await take(back)).toEqual(await unmergeTokens((await merged.tokens.download()) as Tensor, assignment));
    await expect(unmergeTokens(merged.tokens, assignment as never)).rejects.toThrow(/DeviceBuffer for assignment/);
    await expect(unmergeTokens(merged.tokens, merged.sizes)).rejects.toThrow(/'int32' for assignment.type/);
    for (const used of [buffer, ...Object.values(merged)]) used.dispose();
  });

  test('calls that overlap do not disturb each other', async () => {
    const inputs = Array.from({ length: 6 }, (_, seed) => randomTensor(seed, [1 + (seed % 2), 80, 16]));
    const merged = await Promise.all(inputs.map((x) => mergeTokens(x, { heads: 2, keep: 5, device: 'cuda' })));
    for (const [index, x] of inputs.entries())
      expect(merged[index]!.assignment).toEqual(mergeTokensSync(x, { heads: 2, keep: 5 }).assignment);
  });
});
