import { types } from 'node:util';
import { escaped } from './printable.js';

/**
 * Codes of {@link LongVLMError}: stable strings to branch on.
 */
export type LongVLMErrorCode =
  /** The native addon cannot be loaded. */
  | 'ERR_LONGVLM_ADDON'
  /** A tensor holds NaN or infinity. */
  | 'ERR_LONGVLM_NOT_FINITE'
  /** No usable ffmpeg was found. */
  | 'ERR_LONGVLM_FFMPEG_MISSING'
  /** ffmpeg cannot be started: the system gives no more processes, memory or open files. */
  | 'ERR_LONGVLM_FFMPEG'
  /** A file does not exist or cannot be read. */
  | 'ERR_LONGVLM_FILE'
  /** A file is not a video, holds no picture, or is damaged. */
  | 'ERR_LONGVLM_VIDEO'
  /** A video exceeds one of `limits`: pixels, frames, or the time to decode it. */
  | 'ERR_LONGVLM_LIMIT'
  /** A video cannot be fetched: the server refuses or disconnects, or a limit of size, time or redirects is exceeded. */
  | 'ERR_LONGVLM_FETCH'
  /** Weights are damaged, incomplete, or of the wrong shape or type. */
  | 'ERR_LONGVLM_WEIGHTS'
  /** A model or projector is of an unsupported kind. */
  | 'ERR_LONGVLM_UNSUPPORTED'
  /** A data set, the file of an unfinished evaluation, or a list or results file of a batch is malformed. */
  | 'ERR_LONGVLM_DATASET'
  /** A preset's folder is missing, incomplete or damaged. */
  | 'ERR_LONGVLM_PRESET'
  /** A file cannot be downloaded from a hub: the hub refuses, the network fails, or the content has the wrong size or hash. */
  | 'ERR_LONGVLM_HUB'
  /**
   * Two things do not fit together: tower and projector, projector and language model, features and tower, an evaluation
   * and the file of another unfinished one, or a batch and the results of another.
   */
  | 'ERR_LONGVLM_MISMATCH'
  /** The prompt, the video and the answer do not fit into the context. */
  | 'ERR_LONGVLM_CONTEXT_FULL'
  /** The language model cannot be loaded or failed. */
  | 'ERR_LONGVLM_LLM'
  /** ONNX Runtime failed. */
  | 'ERR_LONGVLM_INFERENCE'
  /** No GPU can be used, or a GPU failed. */
  | 'ERR_LONGVLM_CUDA'
  /** A GPU does not have enough memory. */
  | 'ERR_LONGVLM_CUDA_OOM'
  /** A queue cannot be used: its server does not answer or refuses, or BullMQ is not installed. */
  | 'ERR_LONGVLM_QUEUE'
  /**
   * A shared store of features cannot be used: its server does not answer or refuses, there are no keys for it, or aws4fetch is not
   * installed.
   */
  | 'ERR_LONGVLM_STORE'
  /** The object was disposed. */
  | 'ERR_LONGVLM_DISPOSED';

/** A failure at run time, as opposed to a wrong argument (`TypeError`, `RangeError`). Control characters in its message are escaped. */
export class LongVLMError extends Error {
  override readonly name = 'LongVLMError';
  readonly code: LongVLMErrorCode;

  constructor(code: LongVLMErrorCode, message: string, options?: ErrorOptions) {
    // That of the addon has several lines, and no text of a file.
    super(code === 'ERR_LONGVLM_ADDON' ? message : escaped(message), options);
    this.code = code;
  }
}

/** Whether `value` is an error of a built-in kind, such as `RangeError`, of this realm or of another, as under Jest. */
export function isErrorOf(value: unknown, ...names: readonly string[]): value is Error {
  return types.isNativeError(value) && names.includes(value.name);
}

/** An error of this realm or of another. */
function isError(value: unknown): value is Error {
  return types.isNativeError(value) || Object.prototype.toString.call(value) === '[object DOMException]';
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  try {
    return String(isError(error) ? error.message : error);
  } catch {
    // What is thrown may be anything, also what has no text.
    return 'something without a text was thrown';
  }
}

/** The message of the error's cause where it has one: fetch() says only that it failed, and its cause says why. */
export function reasonOf(error: unknown): string {
  return messageOf(types.isNativeError(error) && error.cause !== undefined ? error.cause : error);
}
