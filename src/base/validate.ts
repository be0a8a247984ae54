// Checks of arguments, in one sentence shape: "Expected X for name but received value of type t".
import { setMaxListeners } from 'node:events';
import { LongVLMError } from './errors.js';
import { elementCount, type Float32Tensor, type Tensor } from './tensor.js';

function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'string') return `'${value.length > 80 ? `${value.slice(0, 77)}...` : value}' of type string`;
  if (typeof value === 'object') return `an instance of ${value.constructor?.name ?? 'Object'}`;
  if (typeof value === 'function') return 'a function';
  return `${String(value)} of type ${typeof value}`;
}

/** @throws TypeError always: `value` is of the wrong kind. */
export function wrongType(name: string, expected: string, value: unknown): never {
  throw new TypeError(`Expected ${expected} for ${name} but received ${describe(value)}`);
}

/** @throws RangeError always: `value` is of the right kind but cannot be used. */
export function wrongValue(name: string, expected: string, value: unknown): never {
  throw new RangeError(`Expected ${expected} for ${name} but received ${describe(value)}`);
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

export function checkFunction<T>(name: string, value: T): T {
  if (typeof value !== 'function') wrongType(name, 'function', value);
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
  if (typeof value !== 'object' || value === null) wrongType(name, 'object', value);
  return value;
}

export function checkSignal(value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined;
  if (!(value instanceof AbortSignal)) wrongType('signal', 'AbortSignal', value);
  // One signal may end any number of calls: more than ten listeners are no leak, and Node would warn of one.
  setMaxListeners(0, value);
  return value;
}

/**
 * Checks that a tensor is well formed: data of its type, and as many values as its dims say.
 * `shape` names each axis (`['segments', 'tokens', 'channels']`); a number in it must match exactly.
 */
export function checkTensor(name: string, value: unknown, shape: readonly (string | number)[]): Tensor {
  if (typeof value !== 'object' || value === null) wrongType(name, 'Tensor', value);
  const { type, data, dims } = value as Partial<Tensor>;
  if (type !== 'float32' && type !== 'float16') wrongType(`${name}.type`, "'float32' or 'float16'", type);
  if (type === 'float32' ? !(data instanceof Float32Array) : !(data instanceof Uint16Array))
    wrongType(`${name}.data`, type === 'float32' ? 'Float32Array' : 'Uint16Array', data);
  if (!Array.isArray(dims)) wrongType(`${name}.dims`, 'array', dims);
  const wanted = `[${shape.join(', ')}]`;
  const matches =
    dims.length === shape.length &&
    dims.every(
      (size, axis) =>
        Number.isSafeInteger(size) && size >= 0 && (typeof shape[axis] !== 'number' || shape[axis] === size),
    );
  if (!matches) throw new RangeError(`Expected shape ${wanted} for ${name} but received [${dims.join(', ')}]`);
  if (data!.length !== elementCount(dims))
    throw new RangeError(
      `Expected ${elementCount(dims)} values for ${name} of shape [${dims.join(', ')}] but received ${data!.length}`,
    );
  return value as Tensor;
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
