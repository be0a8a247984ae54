import { checkObject } from './validate.js';

/** Options as {@link readOptions} gives them. */
type Read<Options> = {
  [Name in keyof Options]: Name extends 'signal' ? Exclude<Options[Name], null> : Options[Name];
};

/**
 * A plain object of the named options, each read once: what is checked is what is used, whatever getters and proxies say later.
 * Options that are undefined are left out.
 * @throws TypeError if `options` is no object; what a getter throws
 */
export function readOptions<O extends object, Name extends keyof O & string>(
  options: O,
  names: readonly Name[],
): Read<Pick<O, Name>> {
  checkObject('options', options);
  const read: Partial<Pick<O, Name>> = {};
  for (const name of names) {
    const value = options[name];
    // Null is no signal, as for fetch().
    if (value !== undefined && !(name === 'signal' && value === null)) read[name] = value;
  }
  return read as Read<Pick<O, Name>>;
}
