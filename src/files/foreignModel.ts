// Checks of what every model gives that a family from outside of the package opened: its tensors, and a graph over them.
import { types } from 'node:util';
import * as v from 'valibot';
import { frozenCopy, optional } from '../base/frozenCopy.js';
import { integer, nonEmptyString, parse } from '../base/schema.js';
import { checkString, wrongType } from '../base/validate.js';
import type { TensorLocation } from './tensorFile.js';

const locations = v.array(
  v.looseObject({
    name: v.string(),
    type: nonEmptyString,
    shape: v.array(integer(0)),
    file: nonEmptyString,
    offset: integer(0),
    byteLength: integer(0),
    view: v.optional(v.looseObject({ type: nonEmptyString, strides: v.array(integer(0)) })),
  }),
);

/** @returns a copy. @throws TypeError or RangeError */
export function checkLocations(name: string, value: unknown): readonly TensorLocation[] {
  return parse(locations, value, name, name) as unknown as readonly TensorLocation[];
}

/** @throws TypeError unless `model` is what `GraphBuilder.build()` gives */
export function checkGraph<T extends { readonly bytes: Uint8Array; readonly weightsFolder: string | undefined }>(
  name: string,
  model: T,
): T {
  return frozenCopy<{ readonly bytes: unknown; readonly weightsFolder: unknown }>(name, model, {
    bytes: (path, bytes) => (types.isUint8Array(bytes) ? bytes : wrongType(path, 'Uint8Array', bytes)),
    weightsFolder: optional(checkString),
  }) as T;
}
