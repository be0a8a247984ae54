import { checkString, checkText } from '../base/validate.js';

/** The kind of questions whose answers are lists of events. */
const listKind = 'describe';

/**
 * Scores an answer, from `0` to `1`.
 *
 * Answers of kind `describe` are lists of events, such as "First a red circle, then two blue stars, and last a green moon."
 * They are split at commas, and words of order at the start of an event are removed. The score is the length of the longest
 * common subsequence of events divided by the larger number of events, so events that are missing, invented or out of order
 * lower it. Any other answer scores `1` if it equals the expected one, ignoring case, width of characters, punctuation
 * (`. , ! ? ; : " '`) and white space; otherwise `0`.
 *
 * @param answer the model's answer, may be empty
 * @throws TypeError or RangeError if an argument is not a string, or `kind` is empty
 */
export function scoreAnswer(kind: string, answer: string, expected: string): number {
  checkString('kind', kind);
  checkText('answer', answer);
  checkText('expected', expected);
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
  const numbers = new Map<string, number>();
  for (const event of b) numbers.set(event, numbers.get(event) ?? numbers.size);
  const due = Int32Array.from(b, (event) => numbers.get(event)!);
  // lengths[j]: length of the longest common subsequence of the events of `a` so far and the first j events of `b`.
  const lengths = new Int32Array(due.length + 1);
  for (const event of a) {
    const told = numbers.get(event);
    // Without it, nothing becomes longer.
    if (told === undefined) continue;
    for (let j = 0, before = 0; j < due.length; j++) {
      const above = lengths[j + 1]!;
      lengths[j + 1] = told === due[j] ? before + 1 : Math.max(above, lengths[j]!);
      before = above;
    }
  }
  return lengths[due.length]!;
}
