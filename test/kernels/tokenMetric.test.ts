import { beforeAll, describe, expect, test } from 'vitest';
import { float32Tensor, halfToNumber } from '../../dist/base/tensor.js';
import { bipartiteSoftMatching, mergeTokens, tokenMetric } from '../../dist/kernels/index.js';
import { instructionSets, useInstructionSet } from './instructionSets.js';
import { randomTensor, toHalf } from './tensors.js';

describe.each(instructionSets)('tokenMetric() on %s', (instructionSet) => {
  beforeAll(() => useInstructionSet(instructionSet));

  test.each([
    [1, 1, 1, 1],
    [2, 70, 48, 3],
    [1, 5, 99, 9],
    [3, 64, 128, 2],
    [1, 130, 40, 40],
  ])('is the mean of %i × %i tokens of %i channels over %i heads', async (batch, tokens, channels, heads) => {
    const x = randomTensor(channels, [batch, tokens, channels]);
    const dims = channels / heads;
    const mean = (data: ArrayLike<number>) =>
      Float32Array.from({ length: batch * tokens * dims }, (_, i) => {
        const [token, k] = [Math.floor(i / dims), i % dims];
        let sum = 0;
        for (let head = 0; head < heads; head++) sum += data[token * channels + head * dims + k]!;
        return sum / heads;
      });
    expect(await tokenMetric(x, { heads })).toEqual(float32Tensor(mean(x.data), [batch, tokens, dims]));
    const half = toHalf(x);
    expect((await tokenMetric(half, { heads })).data).toEqual(mean(Float32Array.from(half.data, halfToNumber)));
  });

  test('is what mergeTokens() decides by', async () => {
    const x = randomTensor(5, [2, 90, 60]);
    const matching = await bipartiteSoftMatching(await tokenMetric(x, { heads: 4 }), 31);
    expect((await mergeTokens(x, { heads: 4, schedule: [31] })).assignment).toEqual(matching.assignment);
  });

  test('says where NaN is', async () => {
    const x = randomTensor(1, [3, 100, 12]);
    x.data[(2 * 100 + 71) * 12 + 7] = Number.NaN;
    await expect(tokenMetric(x, { heads: 2 })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_NOT_FINITE',
      message: expect.stringContaining('tokens holds NaN at batch entry 2, token 71, channel 7.'),
    });
  });
});

test('tokenMetric() rejects wrong arguments', async () => {
  const x = randomTensor(1, [2, 3, 12]);
  await expect(tokenMetric(x, { heads: 5 })).rejects.toThrow(/divisor of the 12 channels for heads but received 5/);
  await expect(tokenMetric({ ...x, dims: [6, 12] }, { heads: 1 })).rejects.toThrow(
    /Expected shape \[batch, tokens, channels\]/,
  );
  await expect(tokenMetric(x, undefined as never)).rejects.toThrow(/object for options but received undefined/);
  await expect(tokenMetric(x, { heads: 1, signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' });
});
