import { expect, test } from 'vitest';
import { PartedMap } from '../../../dist/base/partedMap.js';

test('a map in parts holds what a map holds', () => {
  const map = new PartedMap<number>();
  const keys = [
    '',
    'a',
    'b',
    'ab',
    'ba',
    '__proto__',
    'x'.repeat(1000),
    ...Array.from({ length: 5000 }, (_, i) => `/v/${i}.mp4`),
  ];
  for (const [i, key] of keys.entries()) map.set(key, i);
  map.set('a', -1);
  expect(map.size).toBe(keys.length);
  expect(keys.every((key, i) => map.has(key) && map.get(key) === (key === 'a' ? -1 : i))).toBe(true);
  expect([map.has('c'), map.get('constructor')]).toEqual([false, undefined]);
});
