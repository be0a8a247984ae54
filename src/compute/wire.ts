// What crosses between an object and its worker thread.
import { LongVLMError, type LongVLMErrorCode, messageOf } from '../base/errors.js';

/** From the owner to the worker. */
export type Request =
  | { readonly type: 'call'; readonly id: number; readonly method: string; readonly payload: unknown }
  | { readonly type: 'abort'; readonly id: number }
  | { readonly type: 'close' };

/** From the worker to its owner; id 0 is the answer to the worker's start. */
export type Response =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: WireError };

/** An error as plain data: structured clone keeps neither its class nor its code. */
export type WireError = {
  readonly kind: 'LongVLMError' | 'TypeError' | 'RangeError' | 'Error';
  readonly code?: LongVLMErrorCode;
  readonly message: string;
  readonly stack?: string;
  readonly cause?: WireError;
};

export function toWire(error: unknown): WireError {
  if (!(error instanceof Error)) return { kind: 'Error', message: messageOf(error) };
  return {
    kind:
      error instanceof LongVLMError
        ? 'LongVLMError'
        : error instanceof TypeError
          ? 'TypeError'
          : error instanceof RangeError
            ? 'RangeError'
            : 'Error',
    ...(error instanceof LongVLMError && { code: error.code }),
    message: error.message,
    ...(error.stack !== undefined && { stack: error.stack }),
    ...(error.cause !== undefined && { cause: toWire(error.cause) }),
  };
}

export function fromWire({ kind, code, message, stack, cause }: WireError): Error {
  const options = cause === undefined ? undefined : { cause: fromWire(cause) };
  const error =
    kind === 'LongVLMError'
      ? new LongVLMError(code!, message, options)
      : new { TypeError, RangeError, Error }[kind](message, options);
  if (stack !== undefined) error.stack = stack;
  return error;
}
