import { describe, expect, test } from 'vitest';
import { mergeSchedule } from '../../dist/kernels/index.js';

describe('mergeSchedule()', () => {
  test.each([
    [2560, 30, [1280, 640, 320, 160, 80, 40, 10]],
    [640, 10, [320, 160, 80, 40, 20, 10]],
    [51, 5, [25, 13, 6, 2]],
    [5760, 30, [2880, 1440, 720, 360, 180, 90, 45, 15]],
    [60, 30, [30]],
    [61, 30, [30, 1]],
    [2, 1, [1]],
    [1, 1, [0]],
    [16, 16, [0]],
  ])('halves %i tokens until %i are left', (tokens, keep, schedule) => {
    expect(mergeSchedule(tokens, keep)).toEqual(schedule);
  });

  test('ends at keep, and never merges more than half', () => {
    for (let tokens = 1; tokens < 130; tokens++) {
      for (let keep = 1; keep <= tokens; keep++) {
        let left = tokens;
        for (const r of mergeSchedule(tokens, keep)) {
          expect(r).toBeLessThanOrEqual(Math.floor(left / 2));
          left -= r;
        }
        expect(left).toBe(keep);
      }
    }
  });

  test('rejects what is no count', () => {
    expect(() => mergeSchedule(10, 11)).toThrow(
      expect.objectContaining({
        name: 'RangeError',
        message: expect.stringContaining('a schedule that keeps more tokens than there are'),
      }),
    );
    expect(() => mergeSchedule(10, 0)).toThrow(
      expect.objectContaining({
        name: 'RangeError',
        message: 'Expected positive integer for keep but received 0 of type number',
      }),
    );
    expect(() => mergeSchedule(2.5, 1)).toThrow(
      expect.objectContaining({
        name: 'RangeError',
        message: 'Expected positive integer for tokens but received 2.5 of type number',
      }),
    );
    expect(() => mergeSchedule('10' as unknown as number, 1)).toThrow(
      expect.objectContaining({ name: 'TypeError', message: expect.stringMatching(/for tokens but received '10'/) }),
    );
  });
});
