import { describe, expect, test } from 'vitest';
import { AnswerText } from '../../../dist/llm/answerText.js';

/** A detokeniser of bytes: one token, one byte of UTF-8, as a vocabulary falls back to. */
const bytes = (tokens: readonly number[]) => new TextDecoder().decode(Uint8Array.from(tokens));
const tokensOf = (text: string) => [...new TextEncoder().encode(text)];

function pieces(text: string, stop: string[] = []): { given: string[]; answer: AnswerText } {
  const answer = new AnswerText(bytes, stop);
  const given: string[] = [];
  for (const token of tokensOf(text)) {
    given.push(answer.push(token));
    if (answer.stopped) break;
  }
  given.push(answer.end());
  return { given, answer };
}

describe('AnswerText', () => {
  test('holds the bytes of an unfinished character, and gives it once and whole', () => {
    const { given } = pieces('né 😀!');
    expect(given).toEqual(['n', '', 'é', ' ', '', '', '', '😀', '!', '']);
  });

  test('gives what is left of a broken character at the end', () => {
    const answer = new AnswerText(bytes);
    expect(answer.push(0x61)).toBe('a');
    expect(answer.push(0xf0)).toBe('');
    expect(answer.end()).toBe('\ufffd');
    expect(answer.text).toBe('a\ufffd');
  });

  test('leaves out white space before the answer, not in it', () => {
    const { given, answer } = pieces('  a b');
    expect(given.join('')).toBe('a b');
    expect(answer.text).toBe('a b');
  });

  test.each([
    ['yes USER: and', ['USER:'], 'yes '],
    ['yes</s>', ['</s>', 'x'], 'yes'],
    ['one two one', ['two', 'one t'], ''],
    ['US USA', ['USER:'], 'US USA'],
    ['aab', ['ab'], 'a'],
  ])('ends %j before the first of %j', (text, stop, wanted) => {
    const { given, answer } = pieces(text, stop);
    expect(given.join('')).toBe(wanted);
    expect(answer.text).toBe(wanted);
    expect(answer.stopped).toBe(wanted !== text);
  });

  test('never gives a part of a stop text that it takes back later', () => {
    const { given } = pieces('ok USER: x', ['USER:']);
    expect(given.filter((piece) => /U|S|E|R/.test(piece))).toEqual([]);
  });
});
