// The parts of the reducers against plain loops in float64, and by hand.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { float32Tensor, type Tensor } from '../../dist/base/tensor.js';
import {
  assignToAnchors,
  densityPeaks,
  segmentFrames,
  selectDiverse,
  selectTopK,
  temporalSimilarity,
} from '../../dist/kernels/index.js';
import { instructionSets, useInstructionSet } from './instructionSets.js';
import { randomTensor, relativeError, toHalf, values } from './tensors.js';
import { madeVideo } from './videos.js';

const rowsOf = (tensor: Tensor): number[][] => {
  const width = tensor.dims.at(-1)!;
  const flat = values(tensor);
  return Array.from({ length: flat.length / width }, (_, i) => flat.slice(i * width, (i + 1) * width));
};
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
const cosine = (a: readonly number[], b: readonly number[]) => {
  const length = Math.sqrt(dot(a, a) * dot(b, b));
  return length > 0 ? dot(a, b) / length : 0;
};
/** The indices of values, the highest first; of equals the lower index. */
const falling = (list: readonly number[]) => list.map((_, i) => i).sort((a, b) => list[b]! - list[a]! || a - b);

describe.each(instructionSets)('on %s', (instructionSet) => {
  beforeAll(() => useInstructionSet(instructionSet));
  afterAll(() => useInstructionSet(instructionSets.at(-1)!));

  test.each([
    [40, 9, 6],
    [131, 33, 1],
    [17, 100, 17],
  ])('assignToAnchors(): %i tokens of %i channels, %i anchors', async (count, channels, size) => {
    const tokens = randomTensor(count, [count, channels]);
    const anchors = Array.from({ length: size }, (_, i) => (i * 7) % count);
    const rows = rowsOf(tokens);
    const expected = rows.map((row) => falling(anchors.map((anchor) => cosine(row, rows[anchor]!)))[0]!);
    for (const beta of [undefined, 0, 0.6]) {
      const result = await assignToAnchors(tokens, anchors, beta === undefined ? {} : { beta });
      expect([...result.assignment]).toEqual(expected);
      const cosines = rows.map((row, i) => cosine(row, rows[anchors[expected[i]!]!]!));
      expect(relativeError(result.similarities.data, cosines)).toBeLessThan(1e-5);
      const merged = anchors.flatMap((anchor, i) => {
        const own = rows.filter((_, row) => expected[row] === i);
        const mean = rows[0]!.map((_, c) => own.reduce((sum, row) => sum + row[c]!, 0) / own.length);
        const weight = beta === undefined ? 0 : Math.max(1 / (own.length + 1), beta);
        return mean.map((value, c) => weight * rows[anchor]![c]! + (1 - weight) * value);
      });
      expect(relativeError(result.tokens.data as Float32Array, merged)).toBeLessThan(1e-6);
    }
  });

  test('assignToAnchors(): an equal anchor that comes later gets nothing, and stays', async () => {
    const tokens = float32Tensor(Float32Array.from([1, 2, 3, 1, 1, 2, 0, 0]), [4, 2]);
    const { assignment, sizes, tokens: merged } = await assignToAnchors(tokens, [0, 2]);
    expect([...assignment]).toEqual([0, 0, 0, 0]);
    expect([...sizes.data]).toEqual([4, 0]);
    expect([...merged.data].slice(2)).toEqual([1, 2]);
  });

  test.each([
    [2, 50, 12, 7, 5],
    [1, 26, 40, 26, 3],
    [1, 9, 3, 2, 20],
    [3, 1, 5, 1, 1],
  ])(
    'densityPeaks(): %i × %i tokens of %i channels, %i clusters of %i',
    async (batch, count, channels, clusters, neighbours) => {
      const tokens = randomTensor(batch * count, [batch, count, channels]);
      const found = await densityPeaks(tokens, { clusters, neighbours });
      for (let entry = 0; entry < batch; entry++) {
        const rows = rowsOf(tokens).slice(entry * count, (entry + 1) * count);
        const between = rows.map((a) =>
          rows.map((b) => Math.hypot(...a.map((v, c) => v - b[c]!)) / Math.sqrt(channels)),
        );
        const density = between.map((row) => {
          const near = [...row].sort((a, b) => a - b).slice(0, neighbours);
          return Math.exp(-near.reduce((sum, d) => sum + d * d, 0) / near.length);
        });
        const far = Math.max(...between.flat());
        const delta = between.map((row, i) => Math.min(far, ...row.filter((_, j) => density[j]! > density[i]!)));
        const at = <T extends Float32Array | Int32Array>(list: T, size: number) => [
          ...list.slice(entry * size, (entry + 1) * size),
        ];
        expect(relativeError(at(found.densities.data, count), density)).toBeLessThan(1e-5);
        expect(relativeError(at(found.distances.data, count), delta)).toBeLessThan(1e-5);
        const centres = falling(density.map((value, i) => value * delta[i]!)).slice(0, clusters);
        expect(at(found.centres, clusters)).toEqual(centres);
        const nearest = rows.map((_, i) =>
          centres.includes(i) ? centres.indexOf(i) : falling(centres.map((c) => -between[i]![c]!))[0]!,
        );
        expect(at(found.clusters, count)).toEqual(nearest);
      }
    },
  );

  test('densityPeaks(): above what is kept of products, too', async () => {
    // 2,100 tokens on a line, in two heaps.
    const tokens = float32Tensor(
      Float32Array.from({ length: 2100 }, (_, i) => (i % 2 === 0 ? 10 : -10) + Math.sin(i) ** 3),
      [2100, 1],
    );
    const { centres, clusters } = await densityPeaks(tokens, { clusters: 2, neighbours: 4 });
    expect([...centres].map((centre) => centre % 2).sort()).toEqual([0, 1]);
    const first = clusters[0]!;
    expect(clusters.every((cluster, i) => cluster === (i % 2 === 0 ? first : 1 - first))).toBe(true);
  });

  test.each([
    [1, 40, 11, 12],
    [2, 13, 3, 13],
    [1, 1, 4, 1],
  ])('selectDiverse(): %i × %i tokens of %i channels, %i of them', async (batch, count, channels, wanted) => {
    const tokens = randomTensor(count, [batch, count, channels]);
    const weights = float32Tensor(
      Float32Array.from({ length: batch * count }, (_, i) => 1 + ((i * 5) % 7)),
      [batch, count],
    );
    for (const weighted of [false, true]) {
      const picked = await selectDiverse(tokens, wanted, weighted ? { weights } : {});
      for (let entry = 0; entry < batch; entry++) {
        const rows = rowsOf(tokens).slice(entry * count, (entry + 1) * count);
        const factor = (j: number) => (weighted ? weights.data[entry * count + j]! : 1);
        const distance = (i: number, j: number) => (1 - cosine(rows[i]!, rows[j]!)) * factor(j);
        const second = rows.map((_, j) => rows.map((__, i) => distance(i, j)).sort((a, b) => a - b)[1] ?? 0);
        const expected = [falling(second)[0]!];
        while (expected.length < wanted) {
          const closest = rows.map((_, j) =>
            expected.includes(j) ? -1 : Math.min(...expected.map((i) => distance(i, j))),
          );
          expected.push(falling(closest)[0]!);
        }
        expect([...picked.slice(entry * wanted, (entry + 1) * wanted)]).toEqual(expected);
      }
    }
  });

  test('temporalSimilarity(): with the same place, and with the most similar patch', async () => {
    for (const tokens of [madeVideo(3, [5, 23, 37]), toHalf(madeVideo(4, [2, 70, 8]))]) {
      const [frames, patches] = tokens.dims as [number, number];
      const rows = rowsOf(tokens);
      const before = (frame: number) => rows.slice((frame - 1) * patches, frame * patches);
      const later = rows.slice(patches);
      const place = await temporalSimilarity(tokens);
      expect(place.similarities.dims).toEqual([frames - 1, patches]);
      expect(
        relativeError(
          place.similarities.data,
          later.map((row, i) => cosine(row, rows[i]!)),
        ),
      ).toBeLessThan(1e-6);
      expect([...place.matches]).toEqual(later.map((_, i) => i % patches));
      const best = await temporalSimilarity(tokens, { match: 'best' });
      const cosines = later.map((row, i) => before(Math.floor(i / patches) + 1).map((other) => cosine(row, other)));
      expect([...best.matches]).toEqual(cosines.map((row) => falling(row)[0]!));
      expect(
        relativeError(
          best.similarities.data,
          cosines.map((row) => Math.max(...row)),
        ),
      ).toBeLessThan(1e-5);
    }
    const one = await temporalSimilarity(madeVideo(1, [1, 3, 4]));
    expect(one.similarities.dims).toEqual([0, 3]);
  });
});

describe('selectTopK()', () => {
  const scores = float32Tensor(Float32Array.from([3, 1, 3, 3, 0, -0, 0, -1]), [2, 4]);

  test('takes the highest of each frame, of equals the lowest index', async () => {
    expect([...(await selectTopK(scores, 2))]).toEqual([0, 2, 4, 5]);
    expect([...(await selectTopK(scores, [1, 3]))]).toEqual([0, 4, 5, 6]);
    expect([...(await selectTopK(scores, Int32Array.from([4, 0])))]).toEqual([0, 1, 2, 3]);
    expect([...(await selectTopK(scores, 0))]).toEqual([]);
  });

  test('rejects wrong budgets and scores', async () => {
    await expect(selectTopK(scores, 5)).rejects.toThrow(/integer between 0 and 4 for budget but received 5/);
    await expect(selectTopK(scores, [1])).rejects.toThrow(/2, one for each frame, for budget\.length but received 1/);
    await expect(selectTopK(scores, [1, 9])).rejects.toThrow(/for budget\[1\] but received 9/);
    await expect(selectTopK(scores, 'all' as never)).rejects.toMatchObject({ name: 'TypeError' });
    const bad = float32Tensor(Float32Array.from([1, Number.NaN]), [1, 2]);
    await expect(selectTopK(bad, 1)).rejects.toMatchObject({ code: 'ERR_LONGVLM_NOT_FINITE' });
  });
});

describe('segmentFrames()', () => {
  const features = float32Tensor(Float32Array.from([1, 0, 1, 0.1, 1, 0.2, 0, 1, 0, 1, -1, 0.5]), [6, 2]);

  test('cuts below the threshold, and the lowest others if these are too few', async () => {
    const { lengths, similarities } = await segmentFrames(features);
    expect(lengths).toEqual([3, 2, 1]);
    const rows = rowsOf(features);
    expect(
      relativeError(
        similarities.data,
        rows.slice(1).map((row, i) => cosine(row, rows[i]!)),
      ),
    ).toBeLessThan(1e-6);
    expect((await segmentFrames(features, { minSegments: 4 })).lengths).toEqual([1, 2, 2, 1]);
    expect((await segmentFrames(features, { minSegments: 100 })).lengths).toEqual([1, 1, 1, 1, 1, 1]);
    expect((await segmentFrames(features, { threshold: -1 })).lengths).toEqual([6]);
  });

  test('of equal cosines the first are cut first; a zero feature has cosine 0', async () => {
    const alike = float32Tensor(new Float32Array(10).fill(2), [5, 2]);
    expect((await segmentFrames(alike, { minSegments: 3 })).lengths).toEqual([1, 1, 3]);
    const zeros = float32Tensor(new Float32Array(4), [2, 2]);
    expect((await segmentFrames(zeros, { threshold: 0.1 })).lengths).toEqual([1, 1]);
    expect((await segmentFrames(float32Tensor(new Float32Array(3), [1, 3]))).lengths).toEqual([1]);
  });
});
