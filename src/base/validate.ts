// Checks of arguments, in one sentence shape: "Expected X for name but received value of type t".
import { types } from 'node:util';
import { forAnyNumber } from './abort.js';
import { LongVLMError } from './errors.js';
import { escaped } from './printable.js';
import { elementCount, type Float32Tensor, halfBits, type Tensor } from './tensor.js';

/** A value in words. The value may be anything: its own code may throw, and is not run but for its class's name. */
function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'string') return `'${value.length > 80 ? `${value.slice(0, 77)}...` : value}' of type string`;
  if (typeof value === 'object') return types.isProxy(value) ? 'a Proxy' : `an instance of ${classNameOf(value)}`;
  if (typeof value === 'function') return isRevoked(value) ? 'a Proxy' : isClass(value) ? 'a class' : 'a function';
  return `${String(value)} of type ${typeof value}`;
}

function classNameOf(value: object): string {
  try {
    const name: unknown = value.constructor?.name;
    return typeof name === 'string' && name !== '' ? name : 'Object';
  } catch {
    return 'Object';
  }
}

/** Whether `value` is an array that can be read: `Array.isArray` throws for a proxy that was revoked. */
export function isArray(value: unknown): value is readonly unknown[] {
  return !isRevoked(value) && Array.isArray(value);
}

/** Whether `value` is an object, and neither it nor its prototype a proxy that was revoked: reading one of these throws. */
export function isReadable(value: unknown): value is object {
  if (typeof value !== 'object') return false;
  let at: object | null = value;
  // What is behind a proxy is for its own code to say.
  while (at !== null && !types.isProxy(at)) at = Object.getPrototypeOf(at) as object | null;
  return value !== null && !isRevoked(at);
}

/** Whether `value` can be called: no class, which needs `new`, and no proxy that was revoked. */
export function isCallable(value: unknown): value is (...args: never[]) => unknown {
  return typeof value === 'function' && !isRevoked(value) && !isClass(value);
}

function isClass(value: object): boolean {
  return /^class\b/.test(Function.prototype.toString.call(value));
}

function isRevoked(value: unknown): boolean {
  if (!types.isProxy(value)) return false;
  try {
    Array.isArray(value);
    return false;
  } catch {
    return true;
  }
}

/** @throws TypeError always: `value` is of the wrong kind. */
export function wrongType(name: string, expected: string, value: unknown): never {
  const received = describe(value);
  // Each installed copy of this package has classes of its own.
  const isForeign = expected !== 'Object' && received === `an instance of ${expected}`;
  const hint = isForeign ? ` that this copy of longvlm did not make: have one copy (npm ls longvlm)` : '';
  throw new TypeError(escaped(`Expected ${expected} for ${name} but received ${received}${hint}`));
}

/** @throws RangeError always: `value` is of the right kind but cannot be used. */
export function wrongValue(name: string, expected: string, value: unknown): never {
  throw new RangeError(escaped(`Expected ${expected} for ${name} but received ${describe(value)}`));
}

/** The words for an expected integer. */
export function integerWords(min: number, max: number): string {
  if (max < Number.MAX_SAFE_INTEGER) return `integer between ${min} and ${max}`;
  return min === 1 ? 'positive integer' : `integer of at least ${min}`;
}

/** The words for an expected number. */
export function numberWords(min: number, max: number): string {
  return max === Number.POSITIVE_INFINITY ? `number of at least ${min}` : `number between ${min} and ${max}`;
}

export function checkInteger(name: string, value: unknown, min: number, max = Number.MAX_SAFE_INTEGER): number {
  const expected = integerWords(min, max);
  if (typeof value !== 'number') wrongType(name, expected, value);
  if (!Number.isInteger(value) || value < min || value > max) wrongValue(name, expected, value);
  return value;
}

export function checkNumber(name: string, value: unknown, min: number, max = Number.POSITIVE_INFINITY): number {
  const expected = numberWords(min, max);
  if (typeof value !== 'number') wrongType(name, expected, value);
  if (!(value >= min && value <= max)) wrongValue(name, expected, value);
  return value;
}

export function checkString(name: string, value: unknown): string {
  if (typeof value !== 'string') wrongType(name, 'non-empty string', value);
  if (value === '') wrongValue(name, 'non-empty string', value);
  return value;
}

/** A string, which may be empty. */
export function checkText(name: string, value: unknown): string {
  if (typeof value !== 'string') wrongType(name, 'string', value);
  return value;
}

/** @throws TypeError unless `value` is a list of strings, of which a copy is returned */
export function checkStrings(name: string, value: unknown): string[] {
  if (!isArray(value)) wrongType(name, 'array of strings', value);
  return Array.from(value, (item, index) =>
    typeof item === 'string' ? item : wrongType(`${name}[${index}]`, 'string', item),
  );
}

export function checkFunction<T>(name: string, value: T): T {
  if (!isCallable(value)) wrongType(name, 'function', value);
  return value;
}

export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') wrongType(name, 'boolean', value);
  return value;
}

export function checkOneOf<T extends string>(name: string, value: unknown, choices: readonly T[]): T {
  const expected = `one of ${choices.join(', ')}`;
  if (typeof value !== 'string') wrongType(name, expected, value);
  if (!choices.includes(value as T)) wrongValue(name, expected, value);
  return value as T;
}

export function checkObject<T>(name: string, value: T): T {
  if (!isReadable(value)) wrongType(name, 'object', value);
  return value;
}

/** The values of a list that a message shows, whatever they are. */
export function listed(values: readonly unknown[]): string {
  return Array.from(values, (value) => (typeof value === 'number' ? String(value) : describe(value))).join(', ');
}

/** Null is no signal, as for fetch(). */
export function checkSignal(value: unknown): AbortSignal | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isSignal(value)) wrongType('signal', 'AbortSignal', value);
  return forAnyNumber(value);
}

/** Whether `value` is an AbortSignal, of this realm or of another, as under Jest. */
function isSignal(value: unknown): value is AbortSignal {
  if (typeof value !== 'object' || value === null || types.isProxy(value)) return false;
  try {
    const { aborted, throwIfAborted, addEventListener, removeEventListener } = value as Partial<AbortSignal>;
    return (
      typeof aborted === 'boolean' &&
      [throwIfAborted, addEventListener, removeEventListener].every((method) => typeof method === 'function')
    );
  } catch {
    // An object that only has the class of one.
    return false;
  }
}

/**
 * Checks that a tensor is well formed: data of its type, and as many values as its dims say.
 * `shape` names each axis (`['segments', 'tokens', 'channels']`); a number in it must match exactly.
 *
 * @returns The tensor as it was read, once: a getter may give something else the next time.
 */
export function checkTensor(name: string, value: unknown, shape: readonly (string | number)[]): Tensor {
  if (!isReadable(value)) wrongType(name, 'Tensor', value);
  const { type, data, dims: given } = value as Partial<Tensor>;
  if (type !== 'float32' && type !== 'float16') wrongType(`${name}.type`, "'float32' or 'float16'", type);
  const values = type === 'float32' ? data : halfBits(data);
  // Arrays of other realms are as good, and proxies of arrays are none.
  if (type === 'float32' ? !types.isFloat32Array(values) : !types.isUint16Array(values))
    wrongType(`${name}.data`, type === 'float32' ? 'Float32Array' : 'Uint16Array', values);
  if (!isArray(given)) wrongType(`${name}.dims`, 'array', given);
  const dims = sizesOf(`${name}.dims`, given, wordsOfShape(shape));
  const wanted = wordsOfShape(shape);
  const matches =
    dims.length === shape.length &&
    dims.every(
      (size, axis) =>
        Number.isSafeInteger(size) && size >= 0 && (typeof shape[axis] !== 'number' || shape[axis] === size),
    );
  if (!matches) throw new RangeError(`Expected shape ${wanted} for ${name} but received [${dims.join(', ')}]`);
  if (values!.length !== elementCount(dims))
    throw new RangeError(
      `Expected ${elementCount(dims)} values for ${name} of shape [${dims.join(', ')}] but received ${values!.length}`,
    );
  return { type, data: values!, dims } as Tensor;
}

/** {@link checkTensor} for float32 alone. */
export function checkFloat32Tensor(name: string, value: unknown, shape: readonly (string | number)[]): Float32Tensor {
  const tensor = checkTensor(name, value, shape);
  if (tensor.type !== 'float32') wrongType(`${name}.type`, "'float32'", tensor.type);
  return tensor as Float32Tensor;
}

const wordsOfShape = (shape: readonly (string | number)[]) => `[${shape.join(', ')}]`;

// No tensor has more axes; what is longer is not copied.
const mostAxes = 64;

/** A copy of sizes, each read once. */
function sizesOf(name: string, given: readonly unknown[], wanted: string): number[] {
  if (given.length > mostAxes) wrongValue(`${name}.length`, `shape ${wanted}`, given.length);
  return Array.from(given, (size, axis) => {
    if (typeof size !== 'number') wrongType(`${name}[${axis}]`, 'integer', size);
    return size;
  });
}

/**
 * @param name name of the tensor in the error message
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` at the first NaN or infinity, with its position
 */
export function checkFinite(name: string, { data, dims }: Float32Tensor, remedy: string): void {
  const at = data.findIndex((value) => !Number.isFinite(value));
  if (at < 0) return;
  let rest = at;
  const place = dims.map((_, axis) => {
    const stride = elementCount(dims.slice(axis + 1));
    const index = Math.floor(rest / stride);
    rest %= stride;
    return index;
  });
  throw new LongVLMError('ERR_LONGVLM_NOT_FINITE', `${name} holds ${data[at]} at [${place.join(', ')}]. ${remedy}`);
}
