// Failures of items.
import { isErrorOf, LongVLMError, type LongVLMErrorCode, messageOf } from '../base/errors.js';
import { type ApiError, apiError } from '../service/apiError.js';
import type { BatchFailure, ServiceResponse } from './item.js';

/** What no item is to blame for, and what all others would fail with, too. */
const ofAll: ReadonlySet<LongVLMErrorCode> = new Set([
  'ERR_LONGVLM_ADDON',
  'ERR_LONGVLM_FFMPEG_MISSING',
  'ERR_LONGVLM_DISPOSED',
]);

/** What may be otherwise the next time. */
const passing: ReadonlySet<LongVLMErrorCode> = new Set([
  'ERR_LONGVLM_FETCH',
  'ERR_LONGVLM_FFMPEG',
  'ERR_LONGVLM_LLM',
  'ERR_LONGVLM_INFERENCE',
  'ERR_LONGVLM_CUDA',
  'ERR_LONGVLM_CUDA_OOM',
]);

/** The result of a question that failed. @throws the error, where every item would fail with it; `signal.reason` */
export function failureOf(id: string, error: unknown, signal: AbortSignal): BatchFailure {
  throwForAll(error, signal);
  return { id, error: describe(error) };
}

/** The result of a request that failed. @throws as {@link failureOf} */
export function requestFailureOf(id: string, error: unknown, signal: AbortSignal): BatchFailure {
  const failure = apiError(error);
  throwForAll(failure.cause ?? error, signal);
  return { id, error: describe(failure.cause ?? failure), response: responseOf(failure) };
}

/** As the service would send it, but the reason of a failure of its own is told: whoever reads it has the machine. */
function responseOf(failure: ApiError): ServiceResponse {
  const { status } = failure;
  const { error } = failure.toJSON();
  const message = status === 500 ? messageOf(failure.cause) : failure.message;
  return { status, body: { error: { ...error, message } } };
}

function throwForAll(error: unknown, signal: AbortSignal): void {
  signal.throwIfAborted();
  if (error instanceof LongVLMError && ofAll.has(error.code)) throw error;
}

function describe(error: unknown): BatchFailure['error'] {
  const message = messageOf(error);
  if (error instanceof LongVLMError) return { code: error.code, message, canRetry: passing.has(error.code) };
  const isArgument = isErrorOf(error, 'TypeError', 'RangeError') && message.startsWith('Expected ');
  if (isArgument || isRefusal(error)) return { code: 'ERR_LONGVLM_ARGUMENT', message, canRetry: false };
  return { code: 'ERR_LONGVLM_UNEXPECTED', message, canRetry: true };
}

function isRefusal(error: unknown): boolean {
  const { name, status } = error as Partial<ApiError>;
  return name === 'ApiError' && status !== undefined && status < 500;
}
