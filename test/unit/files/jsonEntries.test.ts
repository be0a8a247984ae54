import { describe, expect, test } from 'vitest';
import { type JsonLimits, jsonEntries } from '../../../dist/files/jsonEntries.js';
import { turnsDuring } from '../../fixtures/turns.js';

const limits: JsonLimits = { items: 100, bytes: 1000 };
const within = (opened: string) => (key: string, outer: string | undefined) =>
  outer === undefined && key === opened ? ('entries' as const) : limits;

async function read(text: string, opened = ''): Promise<string[]> {
  const found: string[] = [];
  for await (const { key, value, within: outer } of jsonEntries(Buffer.from(text), within(opened)))
    found.push(`${outer === undefined ? '' : `${outer}.`}${key}=${Buffer.from(value)}`);
  return found;
}

describe('jsonEntries()', () => {
  test('gives the entries of one object within another in its place', async () => {
    const text = ' { "a" : {"b": 1} , "m" : { "c" : "}" , "a": [1, {}] } , "e": { } } ';
    expect(await read(text, 'm')).toEqual(['a={"b": 1} ', 'm.c="}" ', 'm.a=[1, {}] ', 'e={ } ']);
    expect(await read(text, 'none')).toHaveLength(3);
    expect(await read('{"m":{}}', 'm')).toEqual([]);
    expect(await read('{"m":{"m":{}},"m":2}', 'm')).toEqual(['m.m={}', 'm=2']);
    expect(await read('{"m":[1]}', 'm')).toEqual(['m=[1]']);
  });

  test('gives the items of a list', async () => {
    const items = async (text: string) => {
      const found: string[] = [];
      const limitsOf = (key: string, outer: string | undefined) =>
        outer === undefined && key === 'm' ? ('items' as const) : limits;
      for await (const { key, value, within: outer } of jsonEntries(Buffer.from(text), limitsOf))
        found.push(`${outer}.${key}=${Buffer.from(value)}`);
      return found;
    };
    expect(await items('{"m":[ {"a":[1]} , [] ,"]" ],"b":1}')).toEqual([
      'm.={"a":[1]} ',
      'm.=[] ',
      'm.="]" ',
      'undefined.b=1',
    ]);
    expect(await items('{"m":[]}')).toEqual([]);
    expect(await items('{"m":{"a":1}}')).toEqual(['undefined.m={"a":1}']);
    for (const text of ['{"m":[1}', '{"m":[1]]', '{"m":[1,', '{"m":1]'])
      await expect(items(text)).rejects.toThrow(SyntaxError);
  });

  test.each([
    '{"m":{"a":1]}',
    '{"m":{"a":1}',
    '{"m":{"a":1,}}',
    '{"m":{"a":1}}}',
    '{"m":{"a":1} "b":2}',
    '{"m":{"a":1}',
    '{"m":{',
  ])('refuses %s', async (text) => {
    await expect(read(text, 'm')).rejects.toThrow(SyntaxError);
  });

  test('lets the event loop turn', async () => {
    const text = `{"m":{${Array.from({ length: 200_000 }, (_, i) => `"name${i}":"file"`).join()}}}`;
    expect(await turnsDuring(() => read(text, 'm'))).toBeGreaterThan(1);
  });
});
