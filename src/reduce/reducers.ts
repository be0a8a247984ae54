// The registry of reducers by name.
import { attentionKinds } from '../base/attention.js';
import { frozenCopy, optional } from '../base/frozenCopy.js';
import { checkFunction, checkObject, checkOneOf, checkString } from '../base/validate.js';
import { aim } from './aim.js';
import { all } from './all.js';
import { evs } from './evs.js';
import { fastvid } from './fastvid.js';
import { flashvid } from './flashvid.js';
import { merge, mergesLike } from './merge.js';
import { reducesLike } from './onDevice.js';
import { checkNoOptions } from './options.js';
import { pick } from './pick.js';
import { random, uniform } from './picked.js';
import { pool } from './pool.js';
import { type Reducer, type ReducerKind, type ReducerOptions, reducesVideos, type VideoReducer } from './reducer.js';
import { subsample } from './subsample.js';
import { vcast } from './vcast.js';
import { vidcom2 } from './vidcom2.js';

/** The name of a reducer: a built-in or a registered one. */
export type Reduction =
  | ('merge' | 'pick' | 'pool' | 'subsample' | 'all')
  | ('fastvid' | 'flashvid' | 'vcast' | 'evs' | 'vidcom2' | 'aim' | 'uniform' | 'random')
  | (string & {});

const kinds: ReducerKind[] = [
  ...[merge, pick, pool, subsample, all],
  ...[fastvid, flashvid, vcast, evs, vidcom2, aim, uniform, random],
];

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
export function checkReduction(value: unknown): Reduction | Reducer | VideoReducer {
  if (typeof value !== 'object') return checkOneOf('reduction', value, reductionNames());
  return checkReducer('reduction', value as Reducer | VideoReducer);
}

/** A frozen copy of a reducer, which is third-party code. @throws TypeError or RangeError if it is none */
function checkReducer(name: string, reducer: Reducer | VideoReducer): Reducer | VideoReducer {
  const shared = {
    id: checkString,
    name: checkString,
    count: checkFunction,
    check: checkFunction,
    stage: optional((stage, value) => checkOneOf(stage, value, ['tower', 'projector'])),
  };
  const given = checkObject(name, reducer);
  return reducesVideos(given)
    ? frozenCopy<VideoReducer>(name, given, {
        ...shared,
        scope: () => 'video',
        attention: optional((attention, value) => checkOneOf(attention, value, attentionKinds)),
        start: checkFunction,
      })
    : frozenCopy<Reducer>(name, given, { ...shared, reduce: checkFunction });
}

/** Creates the reducer with that name and these options, or returns the one that is given, after a check. */
export function makeReducer(
  reduction: Reduction | Reducer | VideoReducer,
  options: ReducerOptions,
): Reducer | VideoReducer {
  const checked = checkReduction(reduction);
  if (typeof checked === 'object') {
    checkNoOptions(checked.name, options.options);
    return checked;
  }
  const created = kinds.find(({ name }) => name === checked)!.create(options);
  const copy = checkReducer(`what the reducer kind ${checked} created`, created);
  if (reducesVideos(copy)) return reducesLike(copy, created as VideoReducer);
  return mergesLike(copy, created as Reducer);
}
