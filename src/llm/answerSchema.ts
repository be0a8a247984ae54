// The JSON schema of an answer, in the words that llama.cpp's grammars are made from. What these cannot hold is refused, so that an
// answer always fits the schema that was asked for.

import * as v from 'valibot';
import { jsonObject } from '../base/schema.js';

type Schema = Readonly<Record<string, unknown>>;

const mostNodes = 500;
const mostDepth = 32;
/** llama.cpp writes each repetition out. */
const mostRepetitions = 1000;

/** Keywords that do not restrict an answer. `required` is met, as all properties are always there. */
const silent = ['$schema', '$id', '$comment', 'title', 'description', 'default', 'examples', 'deprecated', 'required'];
const ofType: Readonly<Record<string, readonly string[]>> = {
  object: ['properties', 'additionalProperties'],
  array: ['items', 'prefixItems', 'minItems', 'maxItems'],
  string: ['minLength', 'maxLength', 'format'],
  number: [],
  integer: ['minimum', 'maximum'],
  boolean: [],
  null: [],
};
const formats = ['date-time', 'time', 'date'];
const repetitions = ['minItems', 'maxItems', 'minLength', 'maxLength'];

/** A schema that a grammar cannot hold: where, and why. */
export class UnusableSchema extends Error {
  /** The part that is meant, shortened. */
  readonly path: string;

  constructor(path: string, cause: string) {
    const shown = path.length > 200 ? `${path.slice(0, 200)}...` : path;
    super(`The schema ${shown} ${cause}. Leave it out, and check the answer yourself.`);
    this.path = shown;
  }
}

/** The schema of any JSON object. */
export const anyObject: Schema = { type: 'object', additionalProperties: true };

/**
 * The schema of an answer, for `grammar: { jsonSchema }`.
 * @param path what errors call it
 * @throws UnusableSchema for one that cannot be held
 */
export function readAnswerSchema(schema: unknown, path: string): Schema {
  return new SchemaReader().readWhole(schema, path);
}

class SchemaReader {
  #nodes = 0;
  readonly #names = new Set<string>();
  /** Names that are referred to, and where. */
  readonly #references = new Map<string, string>();

  readWhole(given: unknown, path: string): Schema {
    const schema = this.read(given, path, 0);
    for (const [name, place] of this.#references)
      if (!this.#names.has(name)) throw unusable(place, 'refers to what is not in $defs');
    return schema;
  }

  read(given: unknown, path: string, depth: number): Schema {
    if (!v.is(jsonObject, given)) throw unusable(path, 'is no object');
    if (++this.#nodes > mostNodes || depth > mostDepth)
      throw unusable(path, `is more than ${mostNodes} schemas, or ${mostDepth} within each other`);
    const schema = without(given, silent);
    const { $defs, ...rest } = schema;
    if (v.is(jsonObject, $defs)) for (const name of Object.keys($defs)) this.#names.add(name);
    const defs = $defs === undefined ? {} : { $defs: this.#members($defs, `${path}.$defs`, depth) };
    return { ...defs, ...this.#body(rest, path, depth) };
  }

  #body(schema: Schema, path: string, depth: number): Schema {
    const [choice] = ['anyOf', 'oneOf'].filter((key) => key in schema);
    if (choice !== undefined) {
      allow(schema, [choice], path);
      return { oneOf: this.#list(schema[choice], `${path}.${choice}`, depth) };
    }
    if ('$ref' in schema) {
      allow(schema, ['$ref'], path);
      if (typeof schema.$ref !== 'string' || !/^#\/\$defs\/[^/~]+$/.test(schema.$ref))
        throw unusable(`${path}.$ref`, 'is not of the form #/$defs/NAME');
      this.#references.set(schema.$ref.slice('#/$defs/'.length), `${path}.$ref`);
      return schema;
    }
    if ('const' in schema || 'enum' in schema) {
      const values = 'const' in schema ? [schema.const] : schema.enum;
      allow(schema, ['type', 'const', 'enum'], path);
      if (!Array.isArray(values) || values.length === 0 || values.some((value) => typeof value === 'object' && value))
        throw unusable(path, 'has a const or enum that is not texts, numbers, booleans and null');
      for (const value of values) checkText(value, path);
      this.#nodes += values.length;
      return { enum: values };
    }
    const types = Array.isArray(schema.type) ? schema.type : [schema.type];
    if (types.length > 1) return { oneOf: types.map((type) => this.#typed({ ...schema, type }, types, path, depth)) };
    return this.#typed(schema, types, path, depth);
  }

  #typed(schema: Schema, types: readonly unknown[], path: string, depth: number): Schema {
    for (const type of types)
      if (typeof type !== 'string' || !Object.hasOwn(ofType, type))
        throw unusable(`${path}.type`, `is none of ${Object.keys(ofType).join(', ')}`);
    allow(schema, ['type', ...types.flatMap((type) => ofType[type as string]!)], path);
    const { type, properties, additionalProperties, items, prefixItems, minimum, maximum, ...rest } = schema;
    const kept = Object.fromEntries(Object.entries(rest).filter(([key]) => ofType[type as string]!.includes(key)));
    for (const key of repetitions)
      if (kept[key] !== undefined && !(Number.isInteger(kept[key]) && (kept[key] as number) <= mostRepetitions))
        throw unusable(`${path}.${key}`, `is not an integer up to ${mostRepetitions}`);
    if (kept.format !== undefined && !formats.includes(kept.format as string))
      throw unusable(`${path}.format`, `is none of ${formats.join(', ')}`);
    // As written for integers that JavaScript can hold.
    if (
      ((minimum ?? -Infinity) as number) > Number.MIN_SAFE_INTEGER ||
      ((maximum ?? Infinity) as number) < Number.MAX_SAFE_INTEGER
    )
      throw unusable(path, 'has a minimum or maximum, which a grammar cannot hold');
    if (type === 'object')
      return {
        type,
        ...(properties !== undefined && { properties: this.#members(properties, `${path}.properties`, depth) }),
        additionalProperties: this.#additional(additionalProperties, properties, `${path}.additionalProperties`, depth),
      };
    if (type === 'array')
      return {
        ...{ type, ...kept },
        ...(items !== undefined && { items: this.read(items, `${path}.items`, depth + 1) }),
        ...(prefixItems !== undefined && { prefixItems: this.#list(prefixItems, `${path}.prefixItems`, depth) }),
      };
    return { type, ...kept };
  }

  /** Whether there are other properties: without any that are named, there must be. */
  #additional(given: unknown, properties: unknown, path: string, depth: number): unknown {
    if (given === undefined) return properties === undefined;
    return typeof given === 'boolean' ? given : this.read(given, path, depth + 1);
  }

  #members(given: unknown, path: string, depth: number): Schema {
    if (!v.is(jsonObject, given)) throw unusable(path, 'is no object');
    return Object.fromEntries(
      Object.entries(given).map(([name, member]) => {
        checkText(name, path);
        return [name, this.read(member, `${path}.${name}`, depth + 1)];
      }),
    );
  }

  #list(given: unknown, path: string, depth: number): Schema[] {
    if (!Array.isArray(given) || given.length === 0) throw unusable(path, 'is no array of schemas');
    return given.map((each, index) => this.read(each, `${path}[${index}]`, depth + 1));
  }
}

/** llama.cpp would write the text into the log, with its grammar. */
function checkText(text: unknown, path: string): void {
  if (typeof text === 'string' && /\p{Cc}/u.test(text)) throw unusable(path, 'has a text with a control character');
}

function without(schema: Schema, keys: readonly string[]): Schema {
  return Object.fromEntries(Object.entries(schema).filter(([key]) => !keys.includes(key)));
}

function allow(schema: Schema, keys: readonly string[], path: string): void {
  const other = Object.keys(schema).find((key) => !keys.includes(key));
  if (other !== undefined) throw unusable(path, `has '${other}', which a grammar cannot hold here`);
}

function unusable(path: string, cause: string): UnusableSchema {
  return new UnusableSchema(path, cause);
}
