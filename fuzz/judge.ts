// Which errors are right answers to a wrong input.
import { LongVLMError } from 'longvlm';
import { Planted, type Target, WrongResult } from './target.js';

// Texts of Node, of JavaScript and of libraries that tell a user nothing.
const raw =
  /Cannot read propert|is not a function|is not iterable|is not defined|Invalid (?:array|typed array|string|count) |Maximum call stack|Cannot convert|Array buffer allocation|is out of range|ERR_OUT_OF_RANGE|ERR_INVALID_ARG|\bERR_(?!LONGVLM)[A-Z_]{4,}|ONNXRuntimeError|GGML_ASSERT|before initialization|Cannot mix BigInt|not extensible|precision loss/;

const ours = /^Expected [\s\S]+ but received |^[\w.[\]]+ is invalid: |^heads does not divide/;

/** Why an error is no right answer; undefined for one that is. */
export function complaintAbout(error: unknown, { argumentErrors }: Pick<Target, 'argumentErrors'>): string | undefined {
  if (error instanceof Planted) return undefined;
  if (error instanceof WrongResult) return `wrong result: ${error.message}`;
  if (!(error instanceof Error)) return 'something is thrown that is no error';
  const { message } = error;
  if (error instanceof LongVLMError) {
    if (!/^ERR_LONGVLM_[A-Z_]+$/.test(error.code) || message.length < 15) return 'a LongVLMError without code or text';
    // What was received is quoted, and may be anything; so may a template's own words.
    const own = message.replace(/(?<=^The chat template in .* cannot be used).*/s, '').replace(/'[^']*'/g, '');
    return raw.test(own) ? 'a LongVLMError with raw text' : undefined;
  }
  const isArgumentError = error instanceof TypeError || error instanceof RangeError;
  if (argumentErrors && isArgumentError && ours.test(message)) return undefined;
  return 'a raw error';
}

/** The same for failures of one cause: message without numbers, names and paths, and where it was thrown. */
export function signatureOf(kind: string, error?: unknown): string {
  if (!(error instanceof Error)) return kind;
  const text = error.message
    .split('\n', 1)[0]!
    .replace(/'[^']*'|"[^"]*"|\/\S+/g, '…')
    .replace(/-?\d[\d.]*(e[+-]?\d+)?/g, 'N')
    .slice(0, 120);
  const place = /dist\/([^):]+\.js)/.exec(error.stack ?? '')?.[1] ?? '';
  return `${kind}: ${error.name}: ${text} ${place && `in ${place}`}`;
}
