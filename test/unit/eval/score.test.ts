import { describe, expect, test } from 'vitest';
import { scoreAnswer } from '../../../dist/index.js';

describe('scoreAnswer()', () => {
  test.each([
    ['Red.', 'Red.'],
    ['red', 'Red.'],
    ['  On the\n left ', 'on the left.'],
    ['"A red circle!"', 'a red circle.'],
    // Full-width letters and signs, a ligature, a composed accent.
    ['ＲＥＤ！', 'red'],
    ['ﬁve', 'five'],
    ['cafe\u0301', 'caf\u00e9'],
    ["it's; here: now?", 'its here now'],
    ['', '.'],
  ])('takes %j for %j', (answer, expected) => {
    expect(scoreAnswer('what', answer, expected)).toBe(1);
  });

  test.each([
    ['', 'Red.'],
    ['A red circle and more.', 'A red circle.'],
    ['redcircle', 'red circle'],
    ['two', '2'],
    ['blue-green', 'blue green'],
    // A list of events is compared as one text where nothing says that it is a list.
    ['a red circle, then a star', 'first a red circle, then a star'],
  ])('does not take %j for %j', (answer, expected) => {
    expect(scoreAnswer('what', answer, expected)).toBe(0);
  });
});

describe("scoreAnswer('describe')", () => {
  const expected = 'First a red circle, then two blue stars, and last a green moon.';
  const score = (answer: string, due = expected) => scoreAnswer('describe', answer, due);

  test.each([
    ['the same', expected, 1],
    ['other words of order', 'a red circle, two blue stars, and finally a green moon', 1],
    [
      'several words of order at once',
      'And then first a red circle, and then two blue stars, Finally a green moon!',
      1,
    ],
    ['one event wrong', 'First a red circle, then two blue stars, and last a green sun.', 2 / 3],
    ['one left out', 'First a red circle, and last a green moon.', 2 / 3],
    ['one made up', 'First a red circle, then a cat, then two blue stars, and last a green moon.', 3 / 4],
    ['one told twice', 'First a red circle, then a red circle, then two blue stars, and last a green moon.', 3 / 4],
    ['two exchanged', 'First two blue stars, then a red circle, and last a green moon.', 2 / 3],
    ['backwards', 'First a green moon, then two blue stars, and last a red circle.', 1 / 3],
    ['nothing right', 'First a cat, and last a dog.', 0],
    ['nothing at all', '', 0],
    ['only words of order and signs', 'First, then, and last, .', 0],
    ['one event', 'Two blue stars.', 1 / 3],
    ['events without commas, which are one', 'a red circle then two blue stars and last a green moon', 0],
    ['a count that is wrong', 'First a red circle, then three blue stars, and last a green moon.', 2 / 3],
  ])('%s', (_, answer, wanted) => {
    expect(score(answer)).toBeCloseTo(wanted, 12);
  });

  test('keeps words that only begin like a word of order', () => {
    expect(score('First lasting light, and last andy.', 'lasting light, andy')).toBe(1);
    expect(score('First a firstling, and last x.', 'a ling, x')).toBe(0.5);
  });

  test('finds the longest common subsequence, not the first', () => {
    // Greedy matching from the left would take d at once and then find nothing more.
    expect(score('d, a, b, c', 'a, b, c, d')).toBe(3 / 4);
    expect(score('a, b, a, b', 'b, a, b, a')).toBe(3 / 4);
    expect(score('a, a, a', 'a')).toBe(1 / 3);
  });

  test('is symmetric, and 1 only for equal lists', () => {
    for (const [a, b] of [
      ['a, b, c', 'c, a'],
      ['a', 'a, b, c, d'],
      ['x, y', 'y, x'],
    ] as const) {
      expect(score(a, b)).toBe(score(b, a));
      expect(score(a, b)).toBeLessThan(1);
    }
    expect(score('', '')).toBe(1);
  });
});

test('scoreAnswer() refuses what is no text', () => {
  expect(() => scoreAnswer('', 'a', 'a')).toThrow(RangeError);
  expect(() => scoreAnswer('what', 5 as never, 'a')).toThrow(/string for answer but received 5/);
  expect(() => scoreAnswer('what', 'a', undefined as never)).toThrow(/string for expected/);
});
