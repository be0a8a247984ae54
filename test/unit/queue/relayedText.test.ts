import { describe, expect, test } from 'vitest';
import { TextReceiver, TextSender } from '../../../dist/queue/relayedText.js';

/** What is given of these pieces, and of the whole answer. */
function received(pieces: readonly (readonly [at: number, text: string])[], whole: string): string[] {
  const given: string[] = [];
  const receiver = new TextReceiver((text) => given.push(text));
  for (const [at, text] of pieces) receiver.take(at, text);
  receiver.end(whole);
  return given;
}

describe('TextReceiver', () => {
  test.each([
    [
      'in order',
      [
        [0, 'ab'],
        [2, 'cd'],
        [4, 'e'],
      ],
      ['ab', 'cd', 'e'],
    ],
    [
      'of which one is lost',
      [
        [0, 'ab'],
        [4, 'e'],
      ],
      ['ab', 'cde'],
    ],
    [
      'that come twice',
      [
        [0, 'ab'],
        [0, 'ab'],
        [2, 'cd'],
        [2, 'cd'],
      ],
      ['ab', 'cd', 'e'],
    ],
    [
      'of a job that begins anew',
      [
        [0, 'abc'],
        [0, 'a'],
        [1, 'bcd'],
      ],
      ['abc', 'd', 'e'],
    ],
    ['of none', [], ['abcde']],
  ] as const)('gives pieces %s once', (_, pieces, expected) => {
    expect(received(pieces, 'abcde')).toEqual(expected);
  });

  test.each([
    [[[0, 'abx']]],
    [
      [
        [0, 'ab'],
        [0, 'ax'],
        [2, 'c'],
      ],
    ],
  ] as const)('tells when another answer begins: %j', (pieces) => {
    expect(() => received(pieces, 'axcde')).toThrow(
      expect.objectContaining({ code: 'ERR_LONGVLM_QUEUE', message: expect.stringMatching(/answers in other words/) }),
    );
  });
});

test('TextSender sends what comes meanwhile together, and goes on when sending fails', async () => {
  const sent: [number, string][] = [];
  let isFree = () => {};
  const sender = new TextSender(async (at, text) => {
    sent.push([at, text]);
    await new Promise<void>((resolve, reject) => {
      isFree = sent.length === 1 ? () => reject(new Error('away')) : resolve;
    });
  });
  sender.add('ab');
  sender.add('c');
  sender.add('d');
  isFree();
  await new Promise(setImmediate);
  isFree();
  await new Promise(setImmediate);
  sender.add('e');
  expect(sent).toEqual([
    [0, 'ab'],
    [2, 'cd'],
    [4, 'e'],
  ]);
});
