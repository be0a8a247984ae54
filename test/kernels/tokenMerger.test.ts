import { describe, expect, test } from 'vitest';
import { float32Tensor } from '../../dist/base/tensor.js';
import { mergeTokens, mergeTokensSync, TokenMerger } from '../../dist/kernels/index.js';
import { randomTensor, toHalf } from './tensors.js';

describe('TokenMerger', () => {
  test('gives what mergeTokens() gives, call after call, whatever the shapes', async () => {
    const options = { heads: 4, keep: 5, protect: 1 };
    const merger = new TokenMerger(options);
    for (const [segments, tokens, channels] of [
      [2, 300, 32],
      [1, 9, 8],
      [5, 40, 64],
      [1, 1000, 16],
      [2, 300, 32],
    ] as const) {
      const x = randomTensor(tokens, [segments, tokens, channels]);
      const sizes = float32Tensor(new Float32Array(segments * tokens).fill(2), [segments, tokens]);
      expect(merger.mergeSync(x)).toEqual(mergeTokensSync(x, options));
      expect(await merger.merge(toHalf(x))).toEqual(mergeTokensSync(toHalf(x), options));
      expect(await merger.merge(x, { sizes })).toEqual(mergeTokensSync(x, { ...options, sizes }));
    }
    merger.dispose();
  });

  test('serves calls that overlap', async () => {
    const merger = new TokenMerger({ heads: 2, schedule: [100, 50, 25] });
    const inputs = Array.from({ length: 8 }, (_, seed) => randomTensor(seed, [3, 220, 24]));
    const merged = await Promise.all(inputs.map((x) => merger.merge(x)));
    for (const [index, x] of inputs.entries())
      expect(merged[index]).toEqual(mergeTokensSync(x, { heads: 2, schedule: [100, 50, 25] }));
    merger.dispose();
  });

  test('can be disposed in the middle of a call, which ends well, and then refuses others', async () => {
    const merger = new TokenMerger({ heads: 1, keep: 3 });
    const x = randomTensor(3, [2, 900, 64]);
    const working = merger.merge(x);
    expect(merger.disposed).toBe(false);
    merger.dispose();
    merger.dispose();
    expect(merger.disposed).toBe(true);
    expect(await working).toEqual(await mergeTokens(x, { heads: 1, keep: 3 }));
    const error = { name: 'LongVLMError', code: 'ERR_LONGVLM_DISPOSED' };
    await expect(merger.merge(x)).rejects.toMatchObject(error);
    expect(() => merger.mergeSync(x)).toThrow(expect.objectContaining(error));
  });

  test('stops at an abort and works on afterwards', async () => {
    const merger = new TokenMerger({ heads: 1, keep: 3 });
    const x = randomTensor(4, [4, 1200, 64]);
    const controller = new AbortController();
    const working = merger.merge(x, { signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(working).rejects.toThrow('enough');
    expect(await merger.merge(x)).toEqual(await mergeTokens(x, { heads: 1, keep: 3 }));
    merger[Symbol.dispose]();
    expect(merger.disposed).toBe(true);
  });

  test.each<[string, unknown, string, RegExp]>([
    ['no options', undefined, 'TypeError', /Expected object for options but received undefined/],
    ['no heads', { keep: 1 }, 'TypeError', /positive integer for heads but received undefined/],
    ['neither keep nor schedule', { heads: 1 }, 'TypeError', /either keep or schedule in options but received neither/],
    ['keep 0', { heads: 1, keep: 0 }, 'RangeError', /positive integer for keep but received 0/],
    ['a negative level', { heads: 1, schedule: [-1] }, 'RangeError', /for schedule\[0\] but received -1/],
    ['a negative protect', { heads: 1, keep: 1, protect: -1 }, 'RangeError', /integer of at least 0 for protect/],
  ])('rejects %s when it is made', (_, options, name, message) => {
    expect(() => new TokenMerger(options as never)).toThrow(
      expect.objectContaining({ name, message: expect.stringMatching(message) }),
    );
  });

  test('rejects what does not fit its tokens', async () => {
    const merger = new TokenMerger({ heads: 3, keep: 5 });
    await expect(merger.merge(randomTensor(1, [9, 8]))).rejects.toThrow(/divisor of the 8 channels for heads/);
    await expect(merger.merge(randomTensor(1, [4, 9]))).rejects.toThrow(/keeps more tokens than there are/);
    await expect(merger.merge(randomTensor(1, [6, 9]), null as never)).rejects.toThrow(/object for options/);
    merger.dispose();
  });
});
