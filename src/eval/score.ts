import { checkString, wrongType } from '../base/validate.js';

/** The kind whose answers are lists of events. */
const listKind = 'describe';

/**
 * How right an answer is, from `0` to `1`.
 *
 * Answers of kind `describe` are lists of events, as in "First a red circle, then two blue stars, and last a green moon.":
 * split at commas, without the words of order at their beginning. Their score is the length of the longest common
 * subsequence of events over the larger number of events, so that what is missing, made up or out of order costs. Any other
 * answer is right, `1`, when it is the expected one but for case, width of characters, punctuation (`. , ! ? ; : " '`) and
 * white space, and else wrong, `0`.
 *
 * @param answer what was answered, perhaps empty
 * @throws TypeError or RangeError for an argument that is no text, or an empty kind
 */
export function scoreAnswer(kind: string, answer: string, expected: string): number {
  checkString('kind', kind);
  if (typeof answer !== 'string') wrongType('answer', 'string', answer);
  if (typeof expected !== 'string') wrongType('expected', 'string', expected);
  if (kind !== listKind) return normalize(answer) === normalize(expected) ? 1 : 0;
  const told = events(answer);
  const due = events(expected);
  if (told.length === 0 && due.length === 0) return 1;
  return longestCommonSubsequence(told, due) / Math.max(told.length, due.length);
}

function normalize(text: string): string {
  return text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[.,!?;:"']/g, '')
    .replace(/\s+/g, ' ')
    .trim();
}

function events(text: string): string[] {
  return text
    .normalize('NFKC')
    .split(',')
    .map((event) => normalize(event).replace(/^(?:(?:first|then|and|last|finally)(?: |$))+/, ''))
    .filter((event) => event !== '');
}

function longestCommonSubsequence(a: readonly string[], b: readonly string[]): number {
  // lengths[j]: of what was seen of `a` with the first j of `b`.
  let lengths = new Array<number>(b.length + 1).fill(0);
  for (const event of a) {
    const next = [0];
    for (const [j, other] of b.entries())
      next.push(event === other ? lengths[j]! + 1 : Math.max(lengths[j + 1]!, next[j]!));
    lengths = next;
  }
  return lengths[b.length]!;
}
