// Calls whose arguments are right but for one or some.
import { binding } from '../package.js';
import type { Random } from '../random.js';
import { anyValue, fickle } from './oddValues.js';

/** A copy of right arguments in which some are exchanged, missing, or read by a getter. */
export function spoiled(right: Readonly<Record<string, unknown>>, random: Random): unknown {
  if (random.chance(0.04)) return anyValue(random);
  const copy = { ...right };
  const keys = Object.keys(copy);
  for (let left = random.pick([0, 1, 1, 1, 2, 4]); left > 0 && keys.length > 0; left--) {
    const [key] = keys.splice(random.below(keys.length), 1) as [string];
    const value = right[key];
    if (random.chance(0.2)) {
      const reads = [[value], [value, anyValue(random)], [], [anyValue(random), value]];
      Object.defineProperty(copy, key, fickle(random.pick(reads)));
    } else if (Array.isArray(value) && random.chance(0.5)) {
      const items: unknown[] = [...value];
      items[random.below(items.length + 1)] = anyValue(random);
      copy[key] = items;
    } else if (isRecord(value) && random.chance(0.6)) copy[key] = spoiled(value, random);
    else if (random.chance(0.05)) delete copy[key];
    else copy[key] = anyValue(random);
  }
  return random.chance(0.03) ? new Proxy(copy, {}) : copy;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

export const floats = (length: number) => Float32Array.from({ length }, (_, i) => ((i * 7) % 13) / 13);
export const tensor = (...dims: number[]) => ({ type: 'float32', data: floats(dims.reduce((a, b) => a * b, 1)), dims });

export type Call = (random: Random) => unknown;
export type AnyFunction = (...args: unknown[]) => unknown;

/** A function of the addon. */
export function nativeCall(name: string, right: () => Record<string, unknown>): Call {
  return (random) => {
    const call = (binding() as unknown as Record<string, AnyFunction>)[name]!;
    const args = [spoiled(right(), random), anyValue(random)].slice(0, random.pick([1, 1, 1, 1, 1, 1, 0, 2]));
    return Reflect.apply(call, random.chance(0.9) ? undefined : anyValue(random), args);
  };
}

/** A function of the package: right arguments, of which objects are spoiled and others exchanged. */
export function publicCall(call: AnyFunction, right: () => readonly unknown[]): Call {
  return (random) => {
    const args = right().map((value) =>
      isRecord(value) ? spoiled(value, random) : random.chance(0.3) ? anyValue(random) : value,
    );
    return call(...args);
  };
}
