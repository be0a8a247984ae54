import { describe, expect, test } from 'vitest';
import { sampleFrameIndices } from '../../../dist/video/frameIndices.js';
import { expected } from './videoFiles.js';

describe('sampleFrameIndices()', () => {
  test("gives the reference's indices", () => {
    const { data } = expected('frame_indices');
    expect(sampleFrameIndices(252, 20)).toEqual([...new Int32Array(data.buffer)]);
  });

  test('rounds halves to even', () => {
    // Stretches of 2.5: the edge 2.5 becomes 2, and 7.5 becomes 8.
    expect(sampleFrameIndices(11, 4)).toEqual([1, 3, 6, 9]);
  });

  test('repeats frames of a short video', () => {
    expect(sampleFrameIndices(3, 8)).toEqual([0, 0, 0, 1, 1, 1, 2, 2]);
    expect(sampleFrameIndices(1, 4)).toEqual([0, 0, 0, 0]);
  });

  test('stays inside the video', () => {
    for (const total of [1, 2, 99, 100, 101, 90_000]) {
      const indices = sampleFrameIndices(total, 100);
      expect(indices).toHaveLength(100);
      expect(indices.every((index, i) => index >= (indices[i - 1] ?? 0) && index < total)).toBe(true);
    }
  });

  test('rejects what is no count', () => {
    expect(() => sampleFrameIndices(0, 5)).toThrow(/positive integer for total but received 0/);
    expect(() => sampleFrameIndices(5, 1.5)).toThrow(RangeError);
    expect(() => sampleFrameIndices(5, '5' as never)).toThrow(TypeError);
  });
});
