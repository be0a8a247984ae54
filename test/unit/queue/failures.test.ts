import { expect, test } from 'vitest';
import { LongVLMError, type LongVLMErrorCode } from '../../../dist/index.js';
import { mayPass } from '../../../dist/queue/failures.js';
import { ApiError } from '../../../dist/service/apiError.js';

const of = (code: string, message = '') => new LongVLMError(code as LongVLMErrorCode, message);

test.each([
  [of('ERR_LONGVLM_VIDEO'), false],
  [of('ERR_LONGVLM_LIMIT'), false],
  [of('ERR_LONGVLM_CONTEXT_FULL'), false],
  [of('ERR_LONGVLM_CUDA_OOM'), true],
  [of('ERR_LONGVLM_INFERENCE'), true],
  [of('ERR_LONGVLM_LLM', 'The grammar cannot be used: x'), false],
  [of('ERR_LONGVLM_LLM', 'llama.cpp failed'), true],
  [of('ERR_LONGVLM_FETCH', "'a' is refused by the server: 404 Not Found. Check the URL."), false],
  [of('ERR_LONGVLM_FETCH', "'a' is refused by the server: 503 Busy. Check the URL."), true],
  [of('ERR_LONGVLM_FETCH', "'a' is refused by the server: 429 Too Many. Check the URL."), true],
  [of('ERR_LONGVLM_FETCH', "'a' cannot be reached: it hangs up. Check the URL."), true],
  [of('ERR_LONGVLM_FETCH', "'a' leads to an address that is not of the public internet. Give another URL."), false],
  [of('ERR_LONGVLM_FETCH', "'a' is larger than 5 bytes. Take a smaller video."), false],
  [new ApiError(400, 'No.'), false],
  [new ApiError(504, 'Late.'), false],
  [new RangeError('Expected positive integer for frames but received -1 of type number'), false],
  [new Error('anything'), true],
])('%s: whether another try may help is %s', (error, expected) => {
  expect(mayPass(error)).toBe(expected);
});
