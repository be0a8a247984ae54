import { wrongType } from './validate.js';

/** Checks that a value can be written as JSON, from which keys are made. @throws TypeError if not */
export function checkPlain(name: string, value: unknown): unknown {
  try {
    JSON.stringify(value);
  } catch {
    wrongType(name, 'plain data, which can be written as JSON,', value);
  }
  return value;
}
