import { checkNumber, checkObject, checkOneOf, isArray, wrongType, wrongValue } from '../base/validate.js';

/** Options of a method of reduction, by name. */
export type ReductionOptions = Readonly<Record<string, number | string | boolean>>;

/** A copy of options, of which only the form is checked. @throws TypeError */
export function readReductionOptions(value: unknown): ReductionOptions {
  if (isArray(value)) wrongType('reductionOptions', 'object', value);
  const all = Object.entries(checkObject('reductionOptions', value as object));
  const entries = all.filter(([, each]) => each !== undefined);
  for (const [key, each] of entries)
    if (!['number', 'string', 'boolean'].includes(typeof each))
      wrongType(`reductionOptions.${key}`, 'number, string or boolean', each);
  // In one order, as cache keys are made of them.
  return Object.freeze(Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)))) as ReductionOptions;
}

/**
 * Checks the names of a method's options, and those that all methods for whole videos have: their values are for the method.
 * @throws TypeError or RangeError
 */
export function checkReductionOptions(
  reduction: string,
  given: ReductionOptions,
  names: readonly string[],
): ReductionOptions {
  const known = ['retentionRatio', 'stage', ...names];
  for (const key of Object.keys(given))
    if (!known.includes(key))
      wrongValue(`a key of reductionOptions of '${reduction}'`, `one of ${known.join(', ')}`, key);
  const { retentionRatio, stage } = given;
  if (retentionRatio !== undefined && checkNumber('reductionOptions.retentionRatio', retentionRatio, 0, 1) === 0)
    wrongValue('reductionOptions.retentionRatio', 'number above 0, at most 1', 0);
  if (stage !== undefined) checkOneOf('reductionOptions.stage', stage, ['tower', 'projector']);
  return given;
}

/** @throws RangeError where a reduction without options is given some */
export function checkNoOptions(reduction: string, given: ReductionOptions = {}): void {
  const [first] = Object.keys(given);
  if (first !== undefined)
    wrongValue(`a key of reductionOptions, as the reduction '${reduction}' has no options,`, 'nothing', first);
}
