import { describe, expect, test } from 'vitest';
import { checkAllFinite, narrowed, widened, widenedBfloat16 } from '../../../dist/base/largeTensor.js';
import { float32Tensor, halfToNumber, numberToHalf } from '../../../dist/base/tensor.js';
import { turnsDuring } from '../../fixtures/turns.js';

// Some 100 ms of work, and no multiple of the pieces.
const count = 6_000_001;
const values = Float32Array.from({ length: count }, (_, i) => (i % 2048) - 1024);
const halves = Uint16Array.from({ length: count }, (_, i) => numberToHalf((i % 2048) - 1024));
const tensor = float32Tensor(values, [count]);

describe('passes over a large tensor', () => {
  test('convert every value', async () => {
    const [narrow, wide] = [
      await narrowed('x', tensor),
      await widened({ type: 'float16', data: halves, dims: [count] }),
    ];
    expect(narrow.data.findIndex((half, i) => half !== halves[i])).toBe(-1);
    expect(wide.data.findIndex((value, i) => value !== values[i])).toBe(-1);
    expect(await widenedBfloat16(Uint16Array.of(0x3fc0, 0xc000, 0x7f80))).toEqual(
      Float32Array.of(1.5, -2, Number.POSITIVE_INFINITY),
    );
  });

  test('let the event loop turn', async () => {
    expect(await turnsDuring(() => narrowed('x', tensor))).toBeGreaterThan(1);
    expect(await turnsDuring(() => widened({ type: 'float16', data: halves, dims: [count] }))).toBeGreaterThan(0);
  });

  test.each([0, 65_535, 65_536, count - 1])('find what half precision and a model cannot hold at %i', async (at) => {
    const other = values.slice();
    other[at] = 70_000;
    await expect(narrowed('local', float32Tensor(other, [count]))).rejects.toThrow(/as local holds 70000 /);
    other[at] = Number.NaN;
    await expect(checkAllFinite('it', float32Tensor(other, [1, count]), 'Do.')).rejects.toThrow(
      `it holds NaN at [0, ${at}]. Do.`,
    );
    expect(halfToNumber(halves[at]!)).toBe(values[at]);
  });
});
