import { expect, test } from 'vitest';
import { LongVLMError } from '../../../dist/base/errors.js';
import { checkInteger } from '../../../dist/base/validate.js';

test('messages hold no characters that move the cursor or turn text', () => {
  expect(new LongVLMError('ERR_LONGVLM_FILE', 'a\u001b[2J\n\u202eb\u0085').message).toBe(
    'a\\x1b[2J\\x0a\\u{202e}b\\x85',
  );
  expect(() => checkInteger('a\u0007', '\u001b[1m', 0)).toThrow(
    new TypeError("Expected integer of at least 0 for a\\x07 but received '\\x1b[1m' of type string"),
  );
});
