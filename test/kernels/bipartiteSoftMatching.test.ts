import { beforeAll, describe, expect, test } from 'vitest';
import { type Float32Tensor, float32Tensor, halfToNumber, numberToHalf, type Tensor } from '../../dist/base/tensor.js';
import { bipartiteSoftMatching, mergeTokens } from '../../dist/kernels/index.js';
import { instructionSets, useInstructionSet } from './instructionSets.js';
import { referenceMatch } from './reference.js';
import { batchesOf, randomTensor, relativeError, toHalf, values } from './tensors.js';

const ones = (dims: readonly number[]): Float32Tensor =>
  float32Tensor(new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(1), dims);

describe.each(instructionSets)('bipartiteSoftMatching() on %s', (instructionSet) => {
  beforeAll(() => useInstructionSet(instructionSet));

  test.each([
    [1, 2, 5, 1],
    [2, 7, 9, 2],
    [3, 40, 12, 13],
    [1, 97, 33, 48],
    [2, 64, 100, 32],
  ])('finds the pairs of %i × %i tokens of %i dimensions, r = %i', async (batch, tokens, dims, r) => {
    const metric = randomTensor(tokens, [batch, tokens, dims]);
    const matching = await bipartiteSoftMatching(metric, r);
    const expected = batchesOf(metric).map((rows) => referenceMatch(rows, 1));
    expect([...matching.source]).toEqual(expected.flatMap(({ order }) => order.slice(0, r).map((row) => 2 * row)));
    expect([...matching.destination]).toEqual(
      expected.flatMap(({ order, partner }) => order.slice(0, r).map((row) => 2 * partner[row]! + 1)),
    );
    expect([...matching.unmerged]).toEqual(expected.flatMap(({ order }) => order.slice(r).map((row) => 2 * row)));
    expect(matching).toMatchObject({ batch, inputTokens: tokens, r, tokens: tokens - r });

    // The new order: the unmerged of A, then all of B; a source shares the place of its destination.
    const unmerged = Math.ceil(tokens / 2) - r;
    for (let entry = 0; entry < batch; entry++) {
      const place = (token: number) => matching.assignment[entry * tokens + token];
      for (let i = 0; i < unmerged; i++) expect(place(matching.unmerged[entry * unmerged + i]!)).toBe(i);
      for (let row = 0; 2 * row + 1 < tokens; row++) expect(place(2 * row + 1)).toBe(unmerged + row);
      for (let i = 0; i < r; i++)
        expect(place(matching.source[entry * r + i]!)).toBe(place(matching.destination[entry * r + i]!));
    }
  });

  test('merges into weighted means and sums, and copies back', async () => {
    const [batch, tokens, channels, r] = [2, 21, 13, 8];
    const matching = await bipartiteSoftMatching(randomTensor(1, [batch, tokens, 6]), r);
    const x = randomTensor(2, [batch, tokens, channels]);
    const sizes = float32Tensor(
      Float32Array.from({ length: batch * tokens }, (_, i) => 1 + (i % 5)),
      [batch, tokens],
    );
    const expectMerged = async (options: Parameters<typeof matching.merge>[1], weighted: boolean, mean: boolean) => {
      const sums = new Float64Array(batch * matching.tokens * channels);
      const weights = new Float64Array(batch * matching.tokens);
      for (let token = 0; token < batch * tokens; token++) {
        const slot = Math.floor(token / tokens) * matching.tokens + matching.assignment[token]!;
        const weight = weighted ? sizes.data[token]! : 1;
        weights[slot]! += weight;
        for (let c = 0; c < channels; c++) sums[slot * channels + c]! += x.data[token * channels + c]! * weight;
      }
      const merged = await matching.merge(x, options);
      expect(merged.dims).toEqual([batch, matching.tokens, channels]);
      const expected = sums.map((sum, index) => (mean ? sum / weights[Math.floor(index / channels)]! : sum));
      expect(relativeError(merged.data, expected)).toBeLessThan(6e-8);
    };
    await expectMerged(undefined, false, true);
    await expectMerged({ mode: 'mean' }, false, true);
    await expectMerged({ sizes }, true, true);
    await expectMerged({ mode: 'sum' }, false, false);
    await expectMerged({ mode: 'sum', sizes }, true, false);

    const merged = await matching.merge(x);
    const back = await matching.unmerge(merged);
    expect(back.dims).toEqual(x.dims);
    for (let token = 0; token < batch * tokens; token++) {
      const slot = Math.floor(token / tokens) * matching.tokens + matching.assignment[token]!;
      expect(back.data.subarray(token * channels, (token + 1) * channels)).toEqual(
        merged.data.subarray(slot * channels, (slot + 1) * channels),
      );
    }
  });

  test('writes to the memory that it is given, all of it and nothing else', async () => {
    const [batch, tokens, channels, r] = [2, 40, 33, 11];
    const matching = await bipartiteSoftMatching(randomTensor(1, [batch, tokens, 6]), r);
    for (const x of [randomTensor(2, [batch, tokens, channels]), toHalf(randomTensor(2, [batch, tokens, channels]))]) {
      const expected = await matching.merge(x);
      const around = new (x.type === 'float32' ? Float32Array : Uint16Array)(expected.data.length + 10).fill(7);
      const out = { ...expected, data: around.subarray(5, -5) } as Tensor;
      expect(await matching.merge(x, { out })).toBe(out);
      expect(out.data).toEqual(expected.data);
      expect([...around.subarray(0, 5), ...around.subarray(-5)]).toEqual(Array(10).fill(7));
      // Again, over what it holds now.
      await matching.merge(x, { out, mode: 'sum' });
      expect(out.data).toEqual((await matching.merge(x, { mode: 'sum' })).data);
    }
  });

  test('step after step gives what mergeTokens() gives', async () => {
    const start = randomTensor(9, [2, 60, 18]);
    let x: Tensor = start;
    let sizes: Tensor = ones([2, 60]);
    const schedule = [30, 15, 7, 3];
    for (const r of schedule) {
      const matching = await bipartiteSoftMatching(x, r);
      const column = { ...sizes, dims: [...sizes.dims, 1] };
      x = await matching.merge(x, { sizes });
      const merged = await matching.merge(column, { mode: 'sum' });
      sizes = { ...merged, dims: merged.dims.slice(0, 2) };
    }
    const expected = await mergeTokens(start, { heads: 1, schedule });
    expect([...sizes.data]).toEqual([...expected.sizes.data]);
    expect(relativeError(x.data, expected.tokens.data)).toBeLessThan(1e-6);
  });

  test('works on float16', async () => {
    const half = toHalf(randomTensor(4, [1, 30, 14]));
    const single = float32Tensor(Float32Array.from(half.data, halfToNumber), half.dims);
    const matching = await bipartiteSoftMatching(half, 9);
    expect(matching).toEqual(await bipartiteSoftMatching(single, 9));
    const expected = await matching.merge(single, { mode: 'sum' });
    const merged = await matching.merge(half, { mode: 'sum' });
    expect([...merged.data]).toEqual(Array.from(expected.data, numberToHalf));
    const back = await matching.unmerge(merged);
    expect(values(back)).toEqual(
      values(
        await matching.unmerge({ ...merged, type: 'float32', data: Float32Array.from(merged.data, halfToNumber) }),
      ),
    );
  });

  test('clamps r, and moves nothing for r = 0 or a single token', async () => {
    expect((await bipartiteSoftMatching(randomTensor(1, [1, 9, 4]), 100)).r).toBe(4);
    for (const [tokens, r] of [
      [9, 0],
      [1, 5],
    ] as const) {
      const x = randomTensor(6, [2, tokens, 4]);
      const matching = await bipartiteSoftMatching(x, r);
      expect(matching).toMatchObject({ r: 0, tokens });
      expect([...matching.assignment]).toEqual([...Array(tokens).keys(), ...Array(tokens).keys()]);
      expect([...matching.unmerged.subarray(0, Math.ceil(tokens / 2))]).toEqual(tokens === 1 ? [0] : [0, 2, 4, 6, 8]);
      expect(matching.source).toHaveLength(0);
      expect(await matching.merge(x)).toEqual(x);
    }
  });

  test('says where NaN or infinity is', async () => {
    const x = randomTensor(3, [3, 11, 5]);
    const matching = await bipartiteSoftMatching(x, 4);
    x.data[(2 * 11 + 7) * 5 + 3] = Number.POSITIVE_INFINITY;
    const code = 'ERR_LONGVLM_NOT_FINITE';
    const message = (name: string, last: string) =>
      expect.stringContaining(`${name} holds infinity at batch entry 2, token 7, ${last} 3.`);
    await expect(bipartiteSoftMatching(x, 1)).rejects.toMatchObject({ code, message: message('metric', 'dimension') });
    await expect(matching.merge(x)).rejects.toMatchObject({ code, message: message('tensor', 'channel') });
  });
});

describe('bipartiteSoftMatching()', () => {
  const metric = randomTensor(1, [2, 10, 4]);

  test('rejects wrong arguments', async () => {
    const rejects = async (work: Promise<unknown>, name: string, message: RegExp) =>
      await expect(work).rejects.toMatchObject({ name, message: expect.stringMatching(message) });
    await rejects(
      bipartiteSoftMatching({ ...metric, dims: [20, 4] }, 1),
      'RangeError',
      /Expected shape \[batch, tokens, dims\] for metric/,
    );
    await rejects(bipartiteSoftMatching(metric, -1), 'RangeError', /integer of at least 0 for r but received -1/);
    await rejects(bipartiteSoftMatching(metric, undefined as never), 'TypeError', /for r but received undefined/);
    await rejects(bipartiteSoftMatching(metric, 1, null as never), 'TypeError', /object for options but received null/);
    const matching = await bipartiteSoftMatching(metric, 3);
    await rejects(
      matching.merge(randomTensor(1, [2, 9, 4])),
      'RangeError',
      /Expected shape \[2, 10, channels\] for tensor/,
    );
    await rejects(matching.unmerge(metric), 'RangeError', /Expected shape \[2, 7, channels\] for tensor/);
    await rejects(matching.merge(metric, { mode: 'max' as never }), 'RangeError', /one of mean, sum for mode/);
    await rejects(matching.merge(metric, { sizes: ones([2, 9]) }), 'RangeError', /Expected shape \[2, 10\] for sizes/);
    const merge = async (out: unknown) => await matching.merge(metric, { out: out as Tensor });
    await rejects(merge(randomTensor(1, [2, 8, 4])), 'RangeError', /Expected shape \[2, 7, 4\] for out/);
    await rejects(
      merge(toHalf(randomTensor(1, [2, 7, 4]))),
      'RangeError',
      /'float32' for out.type but received 'float16'/,
    );
    await rejects(merge(3), 'TypeError', /for out but received 3/);
    const within = { ...metric, data: metric.data.subarray(24), dims: [2, 7, 4] };
    await rejects(merge(within), 'RangeError', /memory that the input does not use for out.data/);
    const zeros = float32Tensor(new Float32Array(20), [2, 10]);
    await rejects(
      matching.merge(metric, { sizes: zeros }),
      'RangeError',
      /finite number above 0 for sizes.data\[0\] but received 0/,
    );
  });

  test('rejects an assignment that was written to', async () => {
    const matching = await bipartiteSoftMatching(metric, 3);
    matching.assignment[13] = 7;
    const error = { name: 'RangeError', message: expect.stringContaining('is invalid: 7') };
    await expect(matching.merge(metric)).rejects.toMatchObject(error);
    await expect(matching.unmerge(randomTensor(1, [2, 7, 4]))).rejects.toMatchObject(error);
  });
});
