// A GPU whose memory is not enough: no GPU is needed to run out of it.
import { afterEach, describe, expect, test } from 'vitest';
import { LongVLMError } from '../../../dist/base/errors.js';
import { gpuMemoryBytes, inWhatFits, outOfMemory } from '../../../dist/compute/gpuMemory.js';

const full = (text = 'Failed to allocate memory') => new LongVLMError('ERR_LONGVLM_CUDA_OOM', text);

/** Runs on a GPU in which `room` rows fit; what was tried, and the warnings. */
async function run(batch: number, room: number) {
  const tried: number[] = [];
  const warnings: string[] = [];
  const listen = ({ name, message }: Error) => void warnings.push(`${name}: ${message}`);
  process.on('warning', listen);
  try {
    const fitted = await inWhatFits('The vision tower', batch, async (rows) => {
      tried.push(rows);
      if (rows > room) throw full();
    }).catch((error: unknown) => error);
    await new Promise((resolve) => setImmediate(resolve));
    return { fitted, tried, warnings };
  } finally {
    process.off('warning', listen);
  }
}

describe('inWhatFits()', () => {
  test('tries half as many until they fit, and says so once', async () => {
    const { fitted, tried, warnings } = await run(50, 12);
    expect(tried).toEqual([50, 25, 13, 7]);
    expect(fitted).toBe(7);
    expect(warnings).toEqual([
      expect.stringMatching(
        /^LongVLMWarning: The vision tower runs 7 rows at a time .* 50 do not fit into the GPU's memory.* LONGVLM_GPU_MEMORY/,
      ),
    ]);
  });

  test('says nothing where all fit', async () => {
    expect(await run(50, 50)).toEqual({ fitted: 50, tried: [50], warnings: [] });
  });

  test('gives up when not even one fits', async () => {
    const { fitted, tried, warnings } = await run(3, 0);
    expect(tried).toEqual([3, 2, 1]);
    expect(fitted).toMatchObject({ code: 'ERR_LONGVLM_CUDA_OOM' });
    expect(warnings).toEqual([]);
  });

  test('leaves other errors alone', async () => {
    const error = new LongVLMError('ERR_LONGVLM_INFERENCE', 'no');
    await expect(inWhatFits('It', 50, () => Promise.reject(error))).rejects.toBe(error);
  });
});

test('the error says what to do', () => {
  const cause = full();
  expect(outOfMemory('The vision tower', 'cuda:1', cause)).toMatchObject({
    code: 'ERR_LONGVLM_CUDA_OOM',
    cause,
    message: expect.stringMatching(
      /^The vision tower does not fit into the memory of cuda:1: Failed to allocate memory\. .*gpuLayers.*LONGVLM_GPU_MEMORY.*device cpu\.$/,
    ),
  });
});

describe('LONGVLM_GPU_MEMORY', () => {
  afterEach(() => void delete process.env.LONGVLM_GPU_MEMORY);

  test.each([
    [undefined, 3072],
    ['', 3072],
    ['512', 512],
  ])('%j is %i MiB', (given, mebibytes) => {
    if (given !== undefined) process.env.LONGVLM_GPU_MEMORY = given;
    expect(gpuMemoryBytes()).toBe(mebibytes * 2 ** 20);
  });

  test.each(['0', '-1', '1.5', 'much', '1e99'])('%j is refused', (given) => {
    process.env.LONGVLM_GPU_MEMORY = given;
    expect(gpuMemoryBytes).toThrow(/positive integer|integer .*for LONGVLM_GPU_MEMORY/);
  });
});
