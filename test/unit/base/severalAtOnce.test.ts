import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { severalAtOnce } from '../../../dist/base/severalAtOnce.js';

const items = Array.from({ length: 20 }, (_, index) => index);

test('does everything once, with no place taken twice at a time', async () => {
  const done: number[] = [];
  const taken = new Set<number>();
  await severalAtOnce(items, 3, async (item, place) => {
    expect(taken.has(place)).toBe(false);
    taken.add(place);
    for (let turns = item % 4; turns >= 0; turns--) await nextTurn();
    taken.delete(place);
    done.push(item);
  });
  expect(done.toSorted((a, b) => a - b)).toEqual(items);
});

test('starts nothing after an error, and rejects with it when all has ended', async () => {
  const [started, ended]: [number[], number[]] = [[], []];
  const failure = new Error('of the fourth');
  const work = severalAtOnce(items, 3, async (item) => {
    started.push(item);
    await nextTurn();
    if (item === 3) throw failure;
    await nextTurn();
    ended.push(item);
  });
  await expect(work).rejects.toBe(failure);
  expect(started.length).toBeLessThan(8);
  expect(ended).toEqual(started.filter((item) => item !== 3));
});
