// The registry of reducers by name.
import { checkFunction, checkObject, checkOneOf, checkString } from '../base/validate.js';
import { merge } from './merge.js';
import { pool } from './pool.js';
import type { Reducer, ReducerKind, ReducerOptions } from './reducer.js';
import { subsample } from './subsample.js';

/** The name of a reducer: a built-in or a registered one. */
export type Reduction = 'merge' | 'pool' | 'subsample' | (string & {});

const kinds: ReducerKind[] = [merge, pool, subsample];

/**
 * Adds a kind of reducer, or replaces the one with the same name.
 * @throws TypeError if `kind` is not a kind of reducer
 */
export function registerReducer(kind: ReducerKind): void {
  checkString('kind.name', checkObject('kind', kind).name);
  checkFunction('kind.create', kind.create);
  const known = kinds.findIndex(({ name }) => name === kind.name);
  if (known >= 0) kinds.splice(known, 1, kind);
  else kinds.push(kind);
}

/** The names of all reducers. */
export function reductionNames(): string[] {
  return kinds.map(({ name }) => name);
}

/** Checks that a value is a reducer, or the name of one. @throws TypeError or RangeError */
export function checkReduction(value: unknown): Reduction | Reducer {
  if (typeof value !== 'object') return checkOneOf('reduction', value, reductionNames());
  const reducer = checkObject('reduction', value as Reducer);
  checkString('reduction.id', reducer.id);
  checkString('reduction.name', reducer.name);
  for (const method of ['count', 'check', 'reduce'] as const) checkFunction(`reduction.${method}`, reducer[method]);
  if (reducer.stage !== undefined) checkOneOf('reduction.stage', reducer.stage, ['tower', 'projector']);
  return reducer;
}

/** Creates the reducer with that name and these options. A reducer that is given as an object is returned as it is. */
export function makeReducer(reduction: Reduction | Reducer, options: ReducerOptions): Reducer {
  const checked = checkReduction(reduction);
  if (typeof checked === 'object') return checked;
  return kinds.find(({ name }) => name === checked)!.create(options);
}
