import { types } from 'node:util';
import { checkObject, isReadable, wrongType } from './validate.js';

type Check = (name: string, value: unknown) => unknown;
type Method = (...args: unknown[]) => unknown;
type Checks<T> = { readonly [Key in keyof T]-?: Check };

/**
 * A frozen copy of an object of the caller's. Each member is read once and checked: what is checked is what is used, whatever
 * getters say later. Methods are called on the caller's object.
 * @throws TypeError or RangeError, as the checks do
 */
export function frozenCopy<T extends object>(argument: string, given: T, checks: Checks<T>): T {
  checkObject(argument, given);
  const copy: Record<string, unknown> = {};
  for (const [name, check] of Object.entries<Check>(checks)) {
    const value = check(`${argument}.${name}`, given[name as keyof T]);
    if (value === undefined) continue;
    copy[name] = typeof value === 'function' ? methodOf(given, `${argument}.${name}`, value as Method) : value;
  }
  return Object.freeze(copy as T);
}

function methodOf(given: object, name: string, method: Method) {
  return (...args: unknown[]) => {
    const result: unknown = Reflect.apply(method, given, args);
    // To wait for one that was revoked would throw.
    if (types.isProxy(result) && !isReadable(result)) wrongType(`what ${name}() gave`, 'a value', result);
    return result;
  };
}

/** Lets undefined pass. */
export function optional(check: Check): Check {
  return (name, value) => (value === undefined ? undefined : check(name, value));
}
