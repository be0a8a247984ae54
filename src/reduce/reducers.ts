// The registry of reducers by name.
import { frozenCopy, optional } from '../base/frozenCopy.js';
import { checkFunction, checkOneOf, checkString } from '../base/validate.js';
import { all } from './all.js';
import { merge, mergesLike } from './merge.js';
import { pick } from './pick.js';
import { pool } from './pool.js';
import type { Reducer, ReducerKind, ReducerOptions } from './reducer.js';
import { subsample } from './subsample.js';

/** The name of a reducer: a built-in or a registered one. */
export type Reduction = 'merge' | 'pick' | 'pool' | 'subsample' | 'all' | (string & {});

const kinds: ReducerKind[] = [merge, pick, pool, subsample, all];

/**
 * Adds a kind of reducer, or replaces the one with the same name.
 * @throws TypeError if `kind` is not a kind of reducer
 */
export function registerReducer(kind: ReducerKind): void {
  const copy = frozenCopy('kind', kind, { name: checkString, create: checkFunction });
  const known = kinds.findIndex(({ name }) => name === copy.name);
  if (known >= 0) kinds.splice(known, 1, copy);
  else kinds.push(copy);
}

/** The names of all reducers. */
export function reductionNames(): string[] {
  return kinds.map(({ name }) => name);
}

/** Checks that a value is a reducer, or the name of one. @throws TypeError or RangeError */
export function checkReduction(value: unknown): Reduction | Reducer {
  if (typeof value !== 'object') return checkOneOf('reduction', value, reductionNames());
  return checkReducer('reduction', value as Reducer);
}

/** A frozen copy of a reducer, which is third-party code. @throws TypeError or RangeError if it is none */
function checkReducer(name: string, reducer: Reducer): Reducer {
  return frozenCopy(name, reducer, {
    id: checkString,
    name: checkString,
    count: checkFunction,
    check: checkFunction,
    reduce: checkFunction,
    stage: optional((stage, value) => checkOneOf(stage, value, ['tower', 'projector'])),
  });
}

/** Creates the reducer with that name and these options, or returns the one that is given, after a check. */
export function makeReducer(reduction: Reduction | Reducer, options: ReducerOptions): Reducer {
  const checked = checkReduction(reduction);
  if (typeof checked === 'object') return checked;
  const created = kinds.find(({ name }) => name === checked)!.create(options);
  return mergesLike(checkReducer(`what the reducer kind ${checked} created`, created), created);
}
