import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import {
  finiteNumber,
  integer,
  jsonObject,
  nonEmptyString,
  number,
  parse,
  positiveNumber,
} from '../../../dist/base/schema.js';

const schema = v.object({
  name: nonEmptyString,
  heads: v.optional(integer(1)),
  share: v.optional(number(0, 1)),
  act: v.optional(v.picklist(['gelu', 'quick_gelu'])),
  layers: v.optional(v.array(v.object({ width: integer(1, 9), kind: v.optional(v.literal('full')) }))),
  size: v.optional(v.union([v.number(), v.object({ height: v.number() })])),
  files: v.optional(v.record(v.string(), v.pipe(v.string(), v.regex(/^\w+$/, 'name of a file')))),
  mean: v.optional(v.pipe(v.array(v.number()), v.length(3))),
});

describe('parse()', () => {
  test('gives what fits, without what the schema does not name', () => {
    const value = { name: 'clip', heads: 4, layers: [{ width: 3 }], files: { a: 'b' }, mean: [1, 2, 3] };
    expect(parse(schema, { ...value, other: 1 }, 'it')).toEqual(value);
  });

  test.each([
    [null, 'TypeError', 'Expected object for the file but received null'],
    [{}, 'TypeError', 'Expected non-empty string for name but received undefined'],
    [{ name: 5 }, 'TypeError', 'Expected non-empty string for name but received 5 of type number'],
    [{ name: '' }, 'RangeError', "Expected non-empty string for name but received '' of type string"],
    [{ heads: '4' }, 'TypeError', "Expected positive integer for heads but received '4' of type string"],
    [{ heads: 0 }, 'RangeError', 'Expected positive integer for heads but received 0 of type number'],
    [{ heads: 1.5 }, 'RangeError', 'Expected positive integer for heads but received 1.5 of type number'],
    [{ share: 2 }, 'RangeError', 'Expected number between 0 and 1 for share but received 2 of type number'],
    [{ act: 'relu' }, 'RangeError', "Expected one of gelu, quick_gelu for act but received 'relu' of type string"],
    [{ act: 1 }, 'TypeError', 'Expected one of gelu, quick_gelu for act but received 1 of type number'],
    [{ layers: {} }, 'TypeError', 'Expected array for layers but received an instance of Object'],
    [
      { layers: [{ width: 1 }, {}] },
      'TypeError',
      'Expected integer between 1 and 9 for layers[1].width but received undefined',
    ],
    [
      { layers: [{ width: 1, kind: 'half' }] },
      'TypeError',
      "Expected full for layers[0].kind but received 'half' of type string",
    ],
    [{ size: 'big' }, 'TypeError', "Expected number or object for size but received 'big' of type string"],
    [{ files: { a: '../b' } }, 'RangeError', "Expected name of a file for files.a but received '../b' of type string"],
    [{ mean: [1, 2] }, 'RangeError', 'Expected 3 for mean.length but received 2 of type number'],
  ])('says what is wrong with %j', (value, name, message) => {
    const whole = value !== null && Object.keys(value).length > 0 ? { name: 'clip', ...value } : value;
    expect(() => parse(schema, whole, 'the file')).toThrow(expect.objectContaining({ name, message }));
  });

  test('calls what lies in an argument by the whole of its path', () => {
    const shown = (value: unknown) => () => parse(schema, value, 'options', 'options.');
    expect(shown(5)).toThrow('Expected object for options but received 5 of type number');
    expect(shown({})).toThrow('Expected non-empty string for options.name but received undefined');
  });

  test('names a key that must be there, whatever its value', () => {
    expect(() => parse(v.object({ a: v.any() }), {}, 'it')).toThrow('Expected a value for a but received undefined');
  });

  test('names a key that a strict schema does not know', () => {
    expect(() => parse(v.strictObject({ a: v.number() }), { a: 1, b: 2 }, 'it')).toThrow(
      'Expected nothing for b but received 2 of type number',
    );
  });

  test.each([
    [jsonObject, [], 'TypeError', 'Expected object for it but received an instance of Array'],
    [jsonObject, null, 'TypeError', 'Expected object for it but received null'],
    [positiveNumber, '1', 'TypeError', "Expected positive number for it but received '1' of type string"],
    [positiveNumber, 0, 'RangeError', 'Expected positive number for it but received 0 of type number'],
    [positiveNumber, 1 / 0, 'RangeError', 'Expected positive number for it but received Infinity of type number'],
    [finiteNumber, -1 / 0, 'RangeError', 'Expected finite number for it but received -Infinity of type number'],
  ] as const)('has schemas of its own: %#', (own, value, name, message) => {
    expect(() => parse(own, value, 'it')).toThrow(expect.objectContaining({ name, message }));
  });

  test('gives what fits its own schemas', () => {
    expect(parse(jsonObject, { a: [1] }, 'it')).toEqual({ a: [1] });
    expect(parse(positiveNumber, 1e-9, 'it')).toBe(1e-9);
    expect(parse(finiteNumber, -1, 'it')).toBe(-1);
  });
});
