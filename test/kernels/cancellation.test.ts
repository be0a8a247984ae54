import { getEventListeners } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { float32Tensor } from '../../dist/base/tensor.js';
import {
  aim,
  assignToAnchors,
  bipartiteSoftMatching,
  densityPeaks,
  fastVid,
  flashVid,
  mergeTokens,
  poolClsTokens,
  selectDiverse,
  temporalSimilarity,
} from '../../dist/kernels/index.js';
import { instructionSets, useInstructionSet } from './instructionSets.js';
import { randomTensor } from './tensors.js';

describe('an abort signal', () => {
  const tokens = randomTensor(1, [2, 60, 16]);

  test('that is aborted already stops every operation before it starts', async () => {
    const reason = new Error('changed my mind');
    const signal = AbortSignal.abort(reason);
    const matching = await bipartiteSoftMatching(tokens, 10);
    await expect(mergeTokens(tokens, { heads: 1, keep: 3, signal })).rejects.toBe(reason);
    await expect(bipartiteSoftMatching(tokens, 3, { signal })).rejects.toBe(reason);
    await expect(matching.merge(tokens, { signal })).rejects.toBe(reason);
    await expect(matching.unmerge(randomTensor(2, [2, 50, 3]), { signal })).rejects.toBe(reason);
    await expect(poolClsTokens(tokens, { signal })).rejects.toBe(reason);
  });

  test('is let go of when the work is done', async () => {
    const { signal } = new AbortController();
    await mergeTokens(tokens, { heads: 1, keep: 3, signal });
    await expect(
      mergeTokens(float32Tensor(new Float32Array(8).fill(Number.NaN), [1, 2, 4]), { heads: 1, keep: 1, signal }),
    ).rejects.toThrow();
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  test('rejects with its reason, whenever it comes', async () => {
    // Turns of the event loop that go by before: from none to more than the work takes.
    for (const turns of [0, 1, 10, 100, 1000, 10_000]) {
      const controller = new AbortController();
      const work = mergeTokens(randomTensor(turns, [4, 400, 64]), { heads: 4, keep: 3, signal: controller.signal });
      for (let turn = 0; turn < turns; turn++) await nextTurn();
      controller.abort();
      const outcome = await work.then(
        () => 'done',
        (error: unknown) => error,
      );
      if (outcome !== 'done') expect(outcome).toBe(controller.signal.reason);
    }
    // The next call is not touched by what was cancelled.
    expect((await mergeTokens(tokens, { heads: 1, keep: 3 })).tokens.dims).toEqual([2, 3, 16]);
  });

  describe('during work of several minutes', () => {
    beforeAll(() => useInstructionSet('portable'));
    afterAll(() => useInstructionSet(instructionSets.at(-1)!));
    const huge = float32Tensor(new Float32Array(300_000 * 64).fill(1), [1, 300_000, 64]);

    /** Until work that was started before is under way: work for threads is taken up in its order. */
    const underWay = async () => await mergeTokens(tokens, { heads: 1, keep: 3 });

    test('ends mergeTokens()', { timeout: 20_000 }, async () => {
      const controller = new AbortController();
      const work = mergeTokens(huge, { heads: 1, keep: 3, signal: controller.signal });
      await underWay();
      controller.abort();
      await expect(work).rejects.toBe(controller.signal.reason);
    });

    const long = float32Tensor(huge.data, [2, 150_000, 64]);
    const attention = float32Tensor(new Float32Array(300_000), [2, 150_000]);
    const reducers: Record<string, (signal: AbortSignal) => Promise<unknown>> = {
      fastVid: (signal) => fastVid(long, { attention, retentionRatio: 0.1, segments: 1, signal }),
      flashVid: (signal) => flashVid(long, { retentionRatio: 0.1, signal }),
      aim: (signal) => aim(long, { signal }),
      densityPeaks: (signal) => densityPeaks(huge, { clusters: 5, signal }),
      selectDiverse: (signal) => selectDiverse(huge, 3, { signal }),
      assignToAnchors: (signal) =>
        assignToAnchors(
          float32Tensor(huge.data, [300_000, 64]),
          Array.from({ length: 50_000 }, (_, i) => i),
          { signal },
        ),
      temporalSimilarity: (signal) => temporalSimilarity(long, { match: 'best', signal }),
    };
    test.each(Object.keys(reducers))('ends %s()', { timeout: 20_000 }, async (name) => {
      const controller = new AbortController();
      const work = reducers[name]!(controller.signal);
      await underWay();
      controller.abort(new Error('enough'));
      await expect(work).rejects.toThrow('enough');
    });

    test('ends bipartiteSoftMatching()', { timeout: 20_000 }, async () => {
      const controller = new AbortController();
      const work = bipartiteSoftMatching(huge, 5, { signal: controller.signal });
      await underWay();
      controller.abort(new Error('enough'));
      await expect(work).rejects.toThrow('enough');
    });
  });
});
