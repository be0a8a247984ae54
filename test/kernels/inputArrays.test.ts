// Whatever memory typed arrays lie in, each kernel takes them with the same result, or refuses them by name.
import { describe, expect, test } from 'vitest';
import { halfToNumber } from '../../dist/base/tensor.js';
import {
  aim,
  assignToAnchors,
  bipartiteSoftMatching,
  densityPeaks,
  evs,
  fastVid,
  flashVid,
  mergeTokens,
  mergeTokensSync,
  poolClsTokens,
  random,
  segmentFrames,
  selectDiverse,
  selectTopK,
  type Tensor,
  type TensorInput,
  TokenMerger,
  temporalSimilarity,
  tokenMetric,
  uniform,
  unmergeTokens,
  vCast,
  vidCom2,
} from '../../dist/kernels/index.js';
import { randomTensor, toHalf } from './tensors.js';
import { madeAttention, madeVideo } from './videos.js';

/** Where the values of an input lie. */
type Place = {
  readonly tensor: (tensor: Tensor) => TensorInput;
  readonly integers: (values: Int32Array) => Int32Array;
};

const tokens = madeVideo(3, [3, 14, 12]);
const rows = randomTensor(5, [14, 12]);
const frames = randomTensor(6, [3, 12]);
const attention = madeAttention(7, [3, 14]);
const sizes = madeAttention(8, [3, 14]);
const weights = madeAttention(9, [1, 14]);
const assignment = Int32Array.from({ length: 3 * 20 }, (_, i) => i % 14);

type Kernel = (place: Place, of: (tensor: Tensor) => Tensor) => unknown;
const kernels: Record<string, Kernel> = {
  aim: ({ tensor }, of) => aim(tensor(of(tokens)), { steps: 1 }),
  assignToAnchors: ({ tensor, integers }, of) => assignToAnchors(tensor(of(rows)), integers(Int32Array.of(1, 4, 9))),
  bipartiteSoftMatching: ({ tensor }, of) => bipartiteSoftMatching(tensor(of(tokens)), 4),
  'Matching.merge': async ({ tensor }, of) => {
    const matching = await bipartiteSoftMatching(tokens, 4);
    return matching.merge(tensor(of(tokens)), { sizes: tensor(of(sizes)) });
  },
  'Matching.unmerge': async ({ tensor }, of) => {
    const matching = await bipartiteSoftMatching(tokens, 0);
    return matching.unmerge(tensor(of(tokens)));
  },
  densityPeaks: ({ tensor }, of) => densityPeaks(tensor(of(tokens)), { clusters: 3, neighbours: 2 }),
  evs: ({ tensor }, of) => evs(tensor(of(tokens)), { retentionRatio: 0.5 }),
  fastVid: ({ tensor }, of) =>
    fastVid(tensor(of(tokens)), {
      attention: tensor(of(attention)),
      frameFeatures: tensor(of(frames)),
      retentionRatio: 0.5,
    }),
  flashVid: ({ tensor }, of) => flashVid(tensor(of(tokens)), { attention: tensor(of(attention)), retentionRatio: 0.5 }),
  mergeTokens: ({ tensor }, of) => mergeTokens(tensor(of(tokens)), { heads: 3, keep: 5, sizes: tensor(of(sizes)) }),
  mergeTokensSync: ({ tensor }, of) =>
    mergeTokensSync(tensor(of(tokens)), { heads: 3, keep: 5, sizes: tensor(of(sizes)) }),
  'TokenMerger.merge': ({ tensor }, of) =>
    new TokenMerger({ heads: 3, keep: 5 }).merge(tensor(of(tokens)), { sizes: tensor(of(sizes)) }),
  poolClsTokens: ({ tensor }, of) => poolClsTokens(tensor(of(tokens))),
  random: ({ tensor }, of) => random(tensor(of(tokens)), { retentionRatio: 0.5, seed: 4 }),
  segmentFrames: ({ tensor }, of) => segmentFrames(tensor(of(frames)), { threshold: 0.5 }),
  selectDiverse: ({ tensor }, of) =>
    selectDiverse(tensor(of(rows)), 5, { weights: tensor(of({ ...weights, dims: [14] })) }),
  selectTopK: ({ tensor, integers }, of) => selectTopK(tensor(of(attention)), integers(Int32Array.of(3, 1, 2))),
  temporalSimilarity: ({ tensor }, of) => temporalSimilarity(tensor(of(tokens))),
  tokenMetric: ({ tensor }, of) => tokenMetric(tensor(of(tokens)), { heads: 3 }),
  uniform: ({ tensor }, of) => uniform(tensor(of(tokens)), { retentionRatio: 0.5 }),
  unmergeTokens: ({ tensor, integers }, of) => unmergeTokens(tensor(of(tokens)), integers(assignment)),
  vCast: ({ tensor }, of) => vCast(tensor(of(tokens)), { retentionRatio: 0.5 }),
  vidCom2: ({ tensor }, of) => vidCom2(tensor(of(tokens)), { retentionRatio: 0.5 }),
};

const plain: Place = { tensor: (tensor) => tensor, integers: (values) => values };

type Values = Float32Array | Uint16Array | Int32Array;

/** A place whose arrays lie in `memory`, as far behind its beginning as it says. */
function within(memory: (bytes: number) => { buffer: ArrayBufferLike; offset: number }): Place {
  const copy = <T extends Values>(values: T): T => {
    const { buffer, offset } = memory(values.byteLength);
    const copied = new (values.constructor as new (on: ArrayBufferLike, at: number, length: number) => T)(
      buffer,
      offset,
      values.length,
    );
    copied.set(values);
    return copied;
  };
  return { tensor: (tensor) => ({ ...tensor, data: copy(tensor.data) }) as Tensor, integers: copy };
}

const places: Record<string, Place> = {
  // No vector of a processor is aligned there, and NaN lies around it.
  'views with odd offsets': within((bytes) => ({ buffer: new Uint8Array(bytes + 12).fill(0xff).buffer, offset: 4 })),
  'the memory of a Buffer': within((bytes) => {
    const { buffer, byteOffset } = Buffer.allocUnsafe(bytes + 8);
    return { buffer, offset: Math.ceil(byteOffset / 4) * 4 };
  }),
  'shared memory': within((bytes) => ({ buffer: new SharedArrayBuffer(bytes + 8), offset: 8 })),
  'the result of structuredClone()': { tensor: structuredClone, integers: structuredClone },
};

const plainly = (result: unknown) => structuredClone(result);

const Half = (globalThis as { Float16Array?: new (values: Iterable<number> | number) => ArrayBufferView }).Float16Array;

describe.each(Object.entries(kernels))('%s', (_, kernel) => {
  test.each(Object.entries(places))('takes %s', async (_, place) => {
    for (const of of [(tensor: Tensor) => tensor, (tensor: Tensor) => toHalf(tensor as never)])
      expect(plainly(await kernel(place, of))).toEqual(plainly(await kernel(plain, of)));
  });

  test.skipIf(Half === undefined)('takes a Float16Array, where Node has it, and gives bits as ever', async () => {
    const place: Place = {
      tensor: (tensor) => ({ ...tensor, data: new Half!(Array.from(tensor.data, halfToNumber)) }) as TensorInput,
      integers: (values) => values,
    };
    const half = (tensor: Tensor) => toHalf(tensor as never);
    expect(plainly(await kernel(place, half))).toEqual(plainly(await kernel(plain, half)));
  });

  const refused: [string, (tensor: Tensor) => unknown, RegExp][] = [
    [
      'a Buffer',
      ({ data }) => Buffer.from(data.buffer),
      /^Expected Float32Array for [\w.]+\.data but received an instance of Buffer$/,
    ],
    ['a Float64Array', ({ data }) => Float64Array.from(data), /\.data but received an instance of Float64Array$/],
    ['a DataView', ({ data }) => new DataView(data.buffer), /\.data but received an instance of DataView$/],
    ['a list of numbers', ({ data }) => [...data], /\.data but received an instance of Array$/],
    [
      'memory that was transferred away',
      ({ data }) => {
        const lost = Float32Array.from(data);
        structuredClone(lost.buffer, { transfer: [lost.buffer] });
        return lost;
      },
      /^Expected \d+ values for \w+ of shape \[[\d, ]+\] but received 0$/,
    ],
  ];
  test.each(refused)('refuses %s by name', async (_, data, message) => {
    const place = { ...plain, tensor: (tensor: Tensor) => ({ ...tensor, data: data(tensor) }) as TensorInput };
    await expect((async () => kernel(place, (tensor) => tensor))()).rejects.toThrow(message);
  });
});

test.skipIf(Half === undefined)(
  'a result may be written to a Float16Array, and is given as bits of the same memory',
  async () => {
    const matching = await bipartiteSoftMatching(tokens, 4);
    const half = toHalf(tokens);
    const expected = await matching.merge(half);
    const out = { ...expected, data: new Half!(expected.data.length) };
    const merged = await matching.merge(half, { out: out as TensorInput as Tensor });
    expect(merged).toEqual(expected);
    expect(merged.data.buffer).toBe(out.data.buffer);
  },
);
