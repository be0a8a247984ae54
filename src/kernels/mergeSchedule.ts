import { checkInteger, isArray, wrongType, wrongValue } from '../base/validate.js';

/**
 * How many tokens to merge away at each level to keep `keep` of `tokens`: half of them while more than twice `keep` remain,
 * then the rest.
 *
 * @param tokens tokens in a segment, at least 1
 * @param keep tokens to keep, between 1 and `tokens`
 * @throws TypeError when an argument is not a number; RangeError when it is not a positive integer, or `keep` exceeds `tokens`
 *
 * @example
 * mergeSchedule(2560, 30); // [1280, 640, 320, 160, 80, 40, 10]
 */
export function mergeSchedule(tokens: number, keep: number): number[] {
  checkInteger('tokens', tokens, 1);
  checkInteger('keep', keep, 1);
  if (keep > tokens)
    throw new RangeError(
      `Expected at most ${tokens} for keep but received ${keep}: that would be a schedule that keeps more tokens than there are`,
    );
  const schedule = [];
  let left = tokens;
  while (left > 2 * keep) {
    const r = Math.floor(left / 2);
    schedule.push(r);
    left -= r;
  }
  schedule.push(left - keep);
  return schedule;
}

/** More levels than any use of them needs. */
const mostLevels = 2 ** 20;

/** Checks a schedule given by the caller, non-negative integers, and gives a copy: each is read once. */
export function checkSchedule(value: unknown): readonly number[] {
  if (!isArray(value)) wrongType('schedule', 'array of integers', value);
  if (value.length > mostLevels) wrongValue('schedule.length', `at most ${mostLevels} levels`, value.length);
  return Array.from(value, (r, level) => checkInteger(`schedule[${level}]`, r, 0));
}

/** How many tokens remain after `schedule`: each level merges at most half of the unprotected tokens. */
export function keptTokens(tokens: number, protect: number, schedule: readonly number[]): number {
  return schedule.reduce((left, r) => left - Math.min(r, Math.floor((left - protect) / 2)), tokens);
}

type KeepOrSchedule = { readonly keep?: number; readonly schedule?: readonly number[] };

/** Checks that one of `keep` and `schedule` is given. */
export function checkKeepOrSchedule({ keep, schedule }: KeepOrSchedule): void {
  if ((keep === undefined) === (schedule === undefined))
    throw new TypeError(
      `Expected either keep or schedule in options but received ${keep === undefined ? 'neither' : 'both'}`,
    );
}

/** The schedule that the options describe. */
export function chooseSchedule(tokens: number, protect: number, options: KeepOrSchedule): readonly number[] {
  checkKeepOrSchedule(options);
  if (options.keep === undefined) return checkSchedule(options.schedule);
  if (protect === 0) return mergeSchedule(tokens, options.keep);
  const keep = checkInteger('keep', options.keep, 1);
  if (keep > tokens || (keep <= protect && keep < tokens))
    throw new RangeError(
      `Expected at most ${tokens} and more than the ${protect} protected tokens for keep but received ${keep}`,
    );
  return keep === tokens ? [] : mergeSchedule(tokens - protect, keep - protect);
}
