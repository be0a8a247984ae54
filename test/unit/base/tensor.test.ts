import { describe, expect, test } from 'vitest';
import { halfToNumber, numberToHalf, toFloat32 } from '../../../dist/base/tensor.js';
import { checkInteger, checkOneOf, checkTensor } from '../../../dist/base/validate.js';

describe('half precision', () => {
  test('every finite half survives the way to a number and back', () => {
    for (let bits = 0; bits < 0x10000; bits++) {
      if ((bits & 0x7c00) === 0x7c00 && bits & 0x3ff) expect(halfToNumber(bits)).toBeNaN();
      else expect(numberToHalf(halfToNumber(bits))).toBe(bits);
    }
  });

  // IEEE 754 binary16: 11 bits of precision, exponents from -14 to 15, subnormals in steps of 2^-24.
  test.each([
    ['1 is 0x3c00', 1, 0x3c00],
    ['-2 is 0xc000', -2, 0xc000],
    ['the largest is 65504', 65504, 0x7bff],
    ['below the middle above it stays', 65519.996, 0x7bff],
    ['the middle above it is infinity', 65520, 0x7c00],
    ['a tie goes to even, down', 1 + 2 ** -11, 0x3c00],
    ['a tie goes to even, up', 1 + 3 * 2 ** -11, 0x3c02],
    ['just above a tie goes up', 1 + 2 ** -11 + 2 ** -20, 0x3c01],
    ['the smallest normal', 2 ** -14, 0x0400],
    ['the largest subnormal', 2 ** -14 - 2 ** -24, 0x03ff],
    ['the smallest subnormal', 2 ** -24, 0x0001],
    ['half of it is zero', 2 ** -25, 0x0000],
    ['three halves of it are two', 3 * 2 ** -25, 0x0002],
    ['rounding can make a subnormal normal', 2 ** -14 - 2 ** -26, 0x0400],
    ['minus zero', -0, 0x8000],
  ])('%s', (_, value, bits) => {
    expect(numberToHalf(value)).toBe(bits);
  });

  test('a float16 tensor becomes float32, and a float32 one stays itself', () => {
    const half = { type: 'float16', data: Uint16Array.of(0x3c00, 0xc000), dims: [2] } as const;
    expect(toFloat32(half)).toEqual({ type: 'float32', data: Float32Array.of(1, -2), dims: [2] });
    const single = { type: 'float32', data: Float32Array.of(1), dims: [1] } as const;
    expect(toFloat32(single)).toBe(single);
  });
});

describe('checks of arguments', () => {
  const data = new Float32Array(6);

  test.each([
    [undefined, 'TypeError', 'Expected Tensor for x but received undefined'],
    [
      { type: 'int8', data, dims: [2, 3] },
      'TypeError',
      "Expected 'float32' or 'float16' for x.type but received 'int8' of type string",
    ],
    [
      { type: 'float16', data, dims: [2, 3] },
      'TypeError',
      'Expected Uint16Array for x.data but received an instance of Float32Array',
    ],
    [{ type: 'float32', data, dims: [3, 2] }, 'RangeError', 'Expected shape [rows, 3] for x but received [3, 2]'],
    [{ type: 'float32', data, dims: [-2, 3] }, 'RangeError', 'Expected shape [rows, 3] for x but received [-2, 3]'],
    [{ type: 'float32', data, dims: [4, 3] }, 'RangeError', 'Expected 12 values for x of shape [4, 3] but received 6'],
  ])('a tensor %o', (value, name, message) => {
    expect(() => checkTensor('x', value, ['rows', 3])).toThrow(expect.objectContaining({ name, message }));
  });

  test('say what was expected, of which name, and what came', () => {
    expect(() => checkInteger('n', -1, 1)).toThrow(
      new RangeError('Expected positive integer for n but received -1 of type number'),
    );
    expect(() => checkInteger('n', 1.5, 0, 3)).toThrow('Expected integer between 0 and 3 for n but received 1.5');
    expect(() => checkOneOf('how', 'up', ['down'])).toThrow(
      "Expected one of down for how but received 'up' of type string",
    );
    expect(() => checkOneOf('how', 3, ['down'])).toThrow(TypeError);
  });
});
