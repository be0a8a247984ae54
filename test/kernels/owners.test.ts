// Which token each patch went into, where methods of whole videos merge: against what came of it, in float64.
import { expect, test } from 'vitest';
import { float32Tensor } from '../../dist/base/tensor.js';
import { fastVid, flashVid, type ReducedVideo } from '../../dist/kernels/index.js';
import { relativeError } from './tensors.js';
import { madeAttention, madeVideo } from './videos.js';

type Size = readonly [frames: number, patches: number, channels: number];

const videos: Size[] = [
  [9, 25, 12],
  [1, 40, 7],
  [12, 30, 16],
];

/** For each token kept, those given that went into it. */
const membersOf = ({ owners, indices }: ReducedVideo) =>
  Array.from(indices, (_, token) => [...owners!.keys()].filter((patch) => owners![patch] === token));

const meanOf = (data: Float32Array, rows: readonly number[], channels: number) =>
  Array.from({ length: channels }, (_, c) =>
    rows.reduce((sum, row) => sum + data[row * channels + c]! / rows.length, 0),
  );

test.each(videos)(
  'flashVid() of %i frames, %i patches, %i channels: a token is the mean of its own',
  async (...size) => {
    const tokens = madeVideo(size[1], size);
    // Without merging over time, where a mean of means would not be the mean of all.
    const result = await flashVid(tokens, { retentionRatio: 0.2, temporalThreshold: 1 });
    const members = membersOf(result);
    expect(result.owners).toHaveLength(size[0] * size[1]);
    expect(members.map(({ length }) => length)).toEqual([...result.sizes.data]);
    expect([...result.indices].every((index, token) => members[token]!.includes(index))).toBe(true);
    const means = members.flatMap((rows) => meanOf(tokens.data, rows, size[2]));
    expect(relativeError(result.tokens.data, means)).toBeLessThan(1e-6);
  },
);

test('flashVid(): what merged over time goes where its track does', async () => {
  const chain = float32Tensor(Float32Array.from([1, 0, 0, 1, 2, 0, 0, -1, 6, 0, 0, 1]), [3, 2, 2]);
  const options = { retentionRatio: 0.5, alpha: 0, minSegments: 1, segmentThreshold: -1 };
  expect([...(await flashVid(chain, options)).owners!]).toEqual([0, 1, 0, 2, 0, 3]);
  const tokens = madeVideo(3, [10, 30, 12]);
  const merging = { segmentThreshold: -1, minSegments: 1, temporalThreshold: 0.5 };
  const result = await flashVid(tokens, { retentionRatio: 0.2, ...merging });
  expect(result.report.text).toMatch(/ [1-9]\d* merged over time/);
  expect(membersOf(result).map(({ length }) => length)).toEqual([...result.sizes.data]);
  // In segments of one frame, where picked tokens are clustered, too, they are their own.
  const twice = await flashVid(tokens, { retentionRatio: 0.2, segmentThreshold: 1, clusterPicked: true });
  expect(twice.owners!.every((owner) => owner >= 0)).toBe(true);
  const picked = await flashVid(tokens, { retentionRatio: 0.2, alpha: 1 });
  expect(membersOf(picked)).toEqual(Array.from(picked.indices, (index) => [index]));
});

test.each(videos)(
  'fastVid() of %i frames, %i patches, %i channels: an anchor is blended with its own',
  async (...size) => {
    const [frames, patches, channels] = size;
    const tokens = madeVideo(patches, size);
    const attention = madeAttention(5, [frames, patches]);
    // One frame of anchors in a segment: every token goes into one of them.
    const result = await fastVid(tokens, {
      attention,
      retentionRatio: 0.3,
      segments: 3,
      anchorStep: frames,
      beta: 0.3,
    });
    const expected = membersOf(result).flatMap((rows, token) => {
      const place = result.indices[token]!;
      const own = [...tokens.data.subarray(place * channels, (place + 1) * channels)];
      if (rows.length === 1) return own;
      expect(result.sizes.data[token]).toBe(rows.length);
      const weight = Math.max(1 / (rows.length + 1), 0.3);
      return meanOf(tokens.data, rows, channels).map((mean, c) => weight * own[c]! + (1 - weight) * mean);
    });
    expect(relativeError(result.tokens.data, expected)).toBeLessThan(1e-5);
    expect(result.owners!.every((owner) => owner >= 0)).toBe(true);
  },
);

test('fastVid(): of several anchor frames the nearest has a token, and what has none is in no token', async () => {
  const [frames, patches] = [11, 20];
  const tokens = madeVideo(2, [frames, patches, 8]);
  const attention = madeAttention(5, [frames, patches]);
  const options = { attention, retentionRatio: 0.4, segments: 1, threshold: -1, anchorStep: 4 };
  const { owners, indices } = await fastVid(tokens, options);
  // Counted from the last frame: 10, 6 and 2.
  const nearest = [2, 2, 2, 2, 2, 6, 6, 6, 6, 10, 10];
  for (const [patch, owner] of owners!.entries()) {
    const frame = Math.floor(patch / patches);
    const own = indices.indexOf(patch);
    const expected = own >= 0 && owner === own ? frame : nearest[frame];
    expect(Math.floor(indices[owner]! / patches)).toBe(expected);
  }
  const without = await fastVid(tokens, { ...options, contextRatio: 0 });
  expect(membersOf(without)).toEqual(Array.from(without.indices, (index) => [index]));
  expect(without.owners!.filter((owner) => owner < 0)).toHaveLength(without.report.dropped);
});
