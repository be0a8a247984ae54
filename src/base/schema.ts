// Checks data from files and servers against valibot schemas. Errors have the sentence shape of validate.ts.

import * as v from 'valibot';
import { isErrorOf } from './errors.js';
import { integerWords, numberWords, wrongType, wrongValue } from './validate.js';

/**
 * Checks a value against `schema` and returns the parsed value.
 *
 * The error names the first problem: `Expected positive integer for vision.heads but received '5' of type string`. A message
 * in the schema says what was expected, as in `v.string('name of a file')`; without a message, the words come from
 * valibot's check.
 *
 * @param name name of the value in the error; values inside it are named by their path
 * @param prefix put before that path: `dataset.` for values inside an argument `dataset`
 * @throws TypeError for a value of the wrong type; RangeError for a value of the right type that cannot be used
 */
export function parse<const Schema extends v.GenericSchema>(
  schema: Schema,
  value: unknown,
  name: string,
  prefix = '',
): v.InferOutput<Schema> {
  const result = readWith(schema, value, name);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = (issue.path ?? []) as readonly PathItem[];
  const called = path.length === 0 ? name : prefix + pathText(path);
  const missing = isMissingKey(issue) ? schemaAt(schema, path) : undefined;
  if (missing !== undefined) parse(missing, undefined, called, `${called}.`);
  if (lengthChecks.has(issue.type) && Array.isArray(issue.input))
    wrongValue(`${called}.length`, issue.message, issue.input.length);
  const received = isUnknownKey(issue) ? path.at(-1)?.value : issue.input;
  const isRightKind = issue.kind === 'validation' || (issue.type === 'picklist' && typeof received === 'string');
  return (isRightKind ? wrongValue : wrongType)(called, issue.message, received);
}

function readWith<const Schema extends v.GenericSchema>(schema: Schema, value: unknown, name: string) {
  try {
    return v.safeParse(schema, value, { abortEarly: true, message: expectedIn });
  } catch (error) {
    // A proxy that was revoked, anywhere in the value; what getters of the caller throw is passed on.
    if (isErrorOf(error, 'TypeError') && /has been revoked/.test(error.message))
      throw new TypeError(`Expected a value that can be read for ${name} but received a revoked Proxy`);
    throw error;
  }
}

/** A text that is not empty. */
export const nonEmptyString = v.pipe(v.string('non-empty string'), v.nonEmpty('non-empty string'));

/** An integer of at least `min`, at most `max`. */
export function integer(min: number, max = Number.MAX_SAFE_INTEGER) {
  const words = integerWords(min, max);
  return v.pipe(v.number(words), v.safeInteger(words), v.minValue(min, words), v.maxValue(max, words));
}

/** A number of at least `min`, at most `max`. */
export function number(min: number, max = Number.POSITIVE_INFINITY) {
  const words = numberWords(min, max);
  return v.pipe(v.number(words), v.minValue(min, words), v.maxValue(max, words));
}

/** A number that is not infinite. */
export const finiteNumber = v.pipe(v.number('finite number'), v.finite('finite number'));

/** A number above 0 that is not infinite. */
export const positiveNumber = v.pipe(
  v.number('positive number'),
  v.finite('positive number'),
  v.gtValue(0, 'positive number'),
);

/** An object that is no array; valibot's own `object` takes arrays, too. */
export const jsonObject = v.custom<Record<string, unknown>>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'object',
);

type PathItem = { readonly key: unknown; readonly value: unknown };
type Issue = v.BaseIssue<unknown>;

const lengthChecks: ReadonlySet<string> = new Set(['length', 'min_length', 'max_length', 'non_empty']);
const objectTypes: ReadonlySet<string> = new Set(['object', 'loose_object', 'strict_object', 'object_with_rest']);

/** What was expected, in words, for a schema without a message. */
function expectedIn(issue: Issue): string {
  const { type, expected } = issue;
  const requirement = String((issue as { requirement?: unknown }).requirement);
  if (isUnknownKey(issue)) return 'nothing';
  if (isMissingKey(issue)) return 'a value';
  if (objectTypes.has(type) || type === 'record') return 'object';
  if (type === 'array' || type.endsWith('tuple')) return 'array';
  if (type === 'picklist') return `one of ${alternatives(expected).join(', ')}`;
  if (type === 'min_value') return `number of at least ${requirement}`;
  if (type === 'max_value') return `number of at most ${requirement}`;
  if (type === 'min_length') return `at least ${requirement}`;
  if (type === 'max_length') return `at most ${requirement}`;
  if (type === 'non_empty') return Array.isArray(issue.input) ? 'at least 1' : 'non-empty string';
  if (type === 'integer' || type === 'safe_integer') return 'integer';
  if (type === 'finite') return 'finite number';
  if (type === 'regex') return `text like ${requirement}`;
  return expected === null ? 'another value' : alternatives(expected).join(' or ');
}

/** Splits valibot's `("a" | "b")` into a, b. */
function alternatives(expected: string | null): string[] {
  return (expected ?? '')
    .replace(/^\(|\)$/g, '')
    .split(' | ')
    .map((text) => (text === 'Object' || text === 'Array' ? text.toLowerCase() : text.replace(/^"(.*)"$/, '$1')));
}

/** For a missing key, valibot names the key and not the expected value. */
function isMissingKey({ type, input, expected, path }: Issue): boolean {
  return objectTypes.has(type) && input === undefined && path !== undefined && expected === `"${path.at(-1)?.key}"`;
}

function isUnknownKey({ expected, path }: Issue): boolean {
  return expected === 'never' && path !== undefined;
}

/** `vision.layers[3]` */
function pathText(path: readonly PathItem[]): string {
  return path
    .map(({ key }) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`))
    .join('')
    .replace(/^\./, '');
}

/** The members of a schema that paths lead through. */
type Composite = {
  readonly wrapped?: Composite;
  readonly entries?: Readonly<Record<string, Composite>>;
  readonly items?: readonly Composite[];
  readonly item?: Composite;
  readonly value?: Composite;
};

/** The schema at a path; undefined where it depends on the value, as in a union. */
function schemaAt(schema: v.GenericSchema, path: readonly PathItem[]): v.GenericSchema | undefined {
  let at: Composite | undefined = schema as Composite;
  for (const { key } of path) {
    while (at?.wrapped) at = at.wrapped;
    at = at?.entries?.[key as string] ?? at?.items?.[key as number] ?? at?.item ?? at?.value;
  }
  return at as v.GenericSchema | undefined;
}
