// Checked access to the JSON files beside a model's weights, such as config.json.
import * as v from 'valibot';
import { LongVLMError, messageOf } from '../base/errors.js';
import { parseJsonText } from '../base/json.js';
import { readSmallFile } from '../base/regularFile.js';
import { jsonObject, parse } from '../base/schema.js';
import { weightsError } from './tensorFile.js';

/** What a JSON file holds under a name such as `size` or `vision_config.hidden_size`; all of it under ''. */
export type ConfigPart = { readonly file: string; readonly name: string; readonly value: unknown };

// Those of known models have a few thousand bytes. Larger ones would block the event loop while they are parsed.
const maxBytes = 1 << 20;

/**
 * Reads a file with a JSON object.
 * @throws LongVLMError `ERR_LONGVLM_FILE` when it cannot be read; `ERR_LONGVLM_WEIGHTS` when it is something else
 */
export async function readConfigFile(file: string): Promise<ConfigPart> {
  const bytes = await readSmallFile(file, maxBytes);
  if (bytes === undefined)
    throw damagedConfig(file, `it has more than the ${maxBytes} bytes that are read of such a file`);
  try {
    return { file, name: '', value: parse(jsonObject, parseJsonText(bytes.toString()), 'it') };
  } catch (error) {
    throw damagedConfig(file, `it holds no JSON object (${messageOf(error)})`);
  }
}

/** As {@link readConfigFile}, but undefined where there is no such file. */
export async function readConfigFileIfThere(file: string): Promise<ConfigPart | undefined> {
  return readConfigFile(file).catch((error: LongVLMError) => {
    if ((error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return undefined;
    throw error;
  });
}

/** What a part, which must be an object, holds under `key`. */
export function partOf({ file, name, value }: ConfigPart, key: string): ConfigPart {
  return { file, name: name === '' ? key : `${name}.${key}`, value: (value as Record<string, unknown>)[key] };
}

/** Whether a part is neither absent nor null. */
export function isSet({ value }: ConfigPart): boolean {
  return value !== undefined && value !== null;
}

/** Whether a part is an object. */
export function isObject({ value }: ConfigPart): boolean {
  return v.is(jsonObject, value);
}

/** What `schema` makes of a part. @throws LongVLMError made by `refusal` where it does not fit */
export function readPart<const Schema extends v.GenericSchema>(
  schema: Schema,
  { file, name, value }: ConfigPart,
  refusal: (file: string, cause: string) => LongVLMError = damagedConfig,
): v.InferOutput<Schema> {
  const prefix = name === '' || Array.isArray(value) ? name : `${name}.`;
  try {
    return parse(schema, value, name, prefix);
  } catch (error) {
    throw refusal(file, messageOf(error));
  }
}

/** The error for values that are damaged or contradict each other. */
export function damagedConfig(file: string, cause: string): LongVLMError {
  return weightsError(file, cause, 'Correct the file or download it again.');
}

/** The error for a model that this package cannot compute. */
export function unsupportedConfig(
  file: string,
  cause: string,
  remedy = 'Other values are not supported: use another tower.',
): LongVLMError {
  return new LongVLMError('ERR_LONGVLM_UNSUPPORTED', `${file}: ${cause}. ${remedy}`);
}
