// The reducers that are known by name.
import { checkFunction, checkObject, checkOneOf, checkString } from '../base/validate.js';
import { merge } from './merge.js';
import { pool } from './pool.js';
import type { Reducer, ReducerKind, ReducerOptions } from './reducer.js';
import { subsample } from './subsample.js';

/** How a segment's tokens become few, by name: one of those that come with the package, or a registered one. */
export type Reduction = 'merge' | 'pool' | 'subsample' | (string & {});

const kinds: ReducerKind[] = [merge, pool, subsample];

/**
 * Adds a kind of reducer; one of the same name is replaced.
 * @throws TypeError for what is no kind of reducer
 */
export function registerReducer(kind: ReducerKind): void {
  checkString('kind.name', checkObject('kind', kind).name);
  checkFunction('kind.create', kind.create);
  const known = kinds.findIndex(({ name }) => name === kind.name);
  if (known >= 0) kinds.splice(known, 1, kind);
  else kinds.push(kind);
}

/** The names of the reducers that there are. */
export function reductionNames(): string[] {
  return kinds.map(({ name }) => name);
}

/** A reducer as it is given: checked to be one, or the name of one. @throws TypeError or RangeError */
export function checkReduction(value: unknown): Reduction | Reducer {
  if (typeof value !== 'object') return checkOneOf('reduction', value, reductionNames());
  const reducer = checkObject('reduction', value as Reducer);
  checkString('reduction.id', reducer.id);
  checkString('reduction.name', reducer.name);
  for (const method of ['count', 'check', 'reduce'] as const) checkFunction(`reduction.${method}`, reducer[method]);
  if (reducer.stage !== undefined) checkOneOf('reduction.stage', reducer.stage, ['tower', 'projector']);
  return reducer;
}

/** The reducer of that name, with these options; one that is given as an object has its own. */
export function makeReducer(reduction: Reduction | Reducer, options: ReducerOptions): Reducer {
  const checked = checkReduction(reduction);
  if (typeof checked === 'object') return checked;
  return kinds.find(({ name }) => name === checked)!.create(options);
}
