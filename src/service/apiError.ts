// Failures as OpenAI's API words them: `{ error: { message, type, param, code } }`.
import { isErrorOf, LongVLMError, type LongVLMErrorCode, messageOf } from '../base/errors.js';

/** A failure, with its HTTP status. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly param: string | null;
  readonly code: string | null;
  /** Seconds after which to try again. */
  readonly retryAfter: number | undefined;

  constructor(
    status: number,
    message: string,
    details: { param?: string; code?: string; retryAfter?: number; cause?: unknown } = {},
  ) {
    super(message, { cause: details.cause });
    this.status = status;
    this.param = details.param ?? null;
    this.code = details.code ?? null;
    this.retryAfter = details.retryAfter;
  }

  /** The body of the response. */
  toJSON() {
    const { message, param, code } = this;
    return { error: { message, type: typeOf(this.status), param, code } };
  }
}

/** The client's connection closed before its answer was sent. */
export class ClientGone extends Error {
  constructor() {
    super('The client closed the connection.');
  }
}

function typeOf(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 404) return 'not_found_error';
  if (status === 429) return 'rate_limit_error';
  return status < 500 ? 'invalid_request_error' : 'server_error';
}

/** What the request is to blame for, and its status. */
const ofRequest: Partial<Record<LongVLMErrorCode, number>> = {
  ERR_LONGVLM_VIDEO: 400,
  ERR_LONGVLM_LIMIT: 400,
  ERR_LONGVLM_FETCH: 400,
  ERR_LONGVLM_UNSUPPORTED: 400,
  ERR_LONGVLM_CONTEXT_FULL: 400,
};

/**
 * The error to send for anything thrown. What the request is not to blame for is not told to the client, as it may name files of
 * this machine: it is {@link ApiError.cause}.
 */
export function apiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof LongVLMError) {
    const status = ofRequest[error.code];
    if (status !== undefined) return new ApiError(status, error.message, { code: codeOf(error.code), cause: error });
    if (error.code === 'ERR_LONGVLM_LLM' && error.message.startsWith('The grammar cannot be used'))
      return new ApiError(400, error.message, { param: 'response_format', cause: error });
  }
  // The sentence of every check of an argument; other errors of these classes are faults of the program.
  if (isErrorOf(error, 'TypeError', 'RangeError') && error.message.startsWith('Expected '))
    return wrongRequest(error.message, error);
  const status = (error as { statusCode?: unknown }).statusCode;
  if (typeof status === 'number' && status >= 400 && status < 500)
    return new ApiError(status, sentence(messageOf(error)), { cause: error });
  return new ApiError(500, 'The service failed. Its log says why.', { cause: error });
}

function codeOf(code: LongVLMErrorCode): string {
  return code === 'ERR_LONGVLM_CONTEXT_FULL' ? 'context_length_exceeded' : code;
}

function wrongRequest(message: string, cause: unknown): ApiError {
  const param = / for ([\w.[\]$-]+) but /.exec(message)?.[1];
  return new ApiError(400, `${message}.`, { ...(param !== undefined && { param }), cause });
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
