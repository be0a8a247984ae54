// Failures of jobs: which ones another try may mend, and how they travel.
import { LongVLMError, type LongVLMErrorCode, messageOf } from '../base/errors.js';
import { ApiError, apiError } from '../service/apiError.js';
import type { Failure } from './jobs.js';

/** What depends on the state of a machine or of a network, and not on the job alone. */
const passing: ReadonlySet<LongVLMErrorCode> = new Set([
  'ERR_LONGVLM_FETCH',
  'ERR_LONGVLM_FILE',
  'ERR_LONGVLM_FFMPEG',
  'ERR_LONGVLM_FFMPEG_MISSING',
  'ERR_LONGVLM_CUDA',
  'ERR_LONGVLM_CUDA_OOM',
  'ERR_LONGVLM_INFERENCE',
  'ERR_LONGVLM_LLM',
  'ERR_LONGVLM_DISPOSED',
]);

/** Refusals of servers that stay, and limits. */
const lasting =
  /refused by the server: 4(?!08|25|29)\d\d|is larger than|is redirected|is not at a host|not of the public internet|was read before/;

/** Whether the same job may succeed later, or on another machine. */
export function mayPass(error: unknown): boolean {
  // Of a request that is wrong.
  if (apiError(error).status < 500 && !(error instanceof LongVLMError)) return false;
  if (error instanceof ApiError) return error.status === 503;
  if (!(error instanceof LongVLMError)) return true;
  if (error.code === 'ERR_LONGVLM_FETCH') return !lasting.test(error.message);
  if (error.code === 'ERR_LONGVLM_LLM') return apiError(error).status >= 500;
  return passing.has(error.code);
}

/** A failure as the result of a job. */
export function failureOf(error: unknown): Failure {
  const { status, message, param, code } = apiError(error);
  return { status, message, param, code };
}

/** A failure as an error. */
export function errorOf({ status, message, param, code }: Failure): ApiError {
  return new ApiError(status, message, { ...(param != null && { param }), ...(code != null && { code }) });
}

/** A line for the log of the machine where it happened. */
export function causeOf(error: unknown): string {
  const { cause, status } = apiError(error);
  return status === 500 ? messageOf(cause) : messageOf(error);
}
