// Messages between a graph's owner and its worker thread.
import { LongVLMError, type LongVLMErrorCode, messageOf } from '../base/errors.js';
import type { ExitGate } from './exitGate.js';
import type { OnnxModel } from './graphBuilder.js';
import type { SessionOptions } from './ortSession.js';
import type { Outputs, Values } from './values.js';

/** The graph that a thread is started with. */
export type GraphData = {
  readonly model: OnnxModel;
  readonly session: SessionOptions;
  /** Rows that are run at once; undefined for all. */
  readonly batch: number | undefined;
};

/** The thread's `workerData`. */
export type ThreadData = { readonly graph: GraphData; readonly gate: ExitGate };

/** A run of the graph over `rows` rows. The buffers of inputs and outputs are transferred with it. */
export type RunCall = { readonly rows: number; readonly inputs: Values; readonly outputs: Outputs };

/** From the owner to the thread. */
export type Request =
  | ({ readonly type: 'run'; readonly id: number } & RunCall)
  | { readonly type: 'abort'; readonly id: number }
  | { readonly type: 'close' };

/** From the thread to its owner. */
export type Response =
  | { readonly type: 'started'; readonly device: string }
  | { readonly type: 'startFailed'; readonly error: WireError }
  | { readonly type: 'done'; readonly id: number; readonly outputs: Outputs }
  | { readonly type: 'failed'; readonly id: number; readonly error: WireError };

/** An error as plain data: structured clone loses its class and its code. */
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
