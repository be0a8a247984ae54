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
  /** A file does not exist or cannot be read. */
  | 'ERR_LONGVLM_FILE'
  /** A file is not a video, holds no picture, or is damaged. */
  | 'ERR_LONGVLM_VIDEO'
  /** A video cannot be fetched: the server refuses or breaks off, or a limit of size, time or redirects is passed. */
  | 'ERR_LONGVLM_FETCH'
  /** Weights are damaged, incomplete, or of the wrong shape or type. */
  | 'ERR_LONGVLM_WEIGHTS'
  /** A model or projector of a kind that is not supported. */
  | 'ERR_LONGVLM_UNSUPPORTED'
  /** A data set, or what is left of an evaluation of it, is malformed. */
  | 'ERR_LONGVLM_DATASET'
  /** A preset's folder is missing, incomplete or damaged. */
  | 'ERR_LONGVLM_PRESET'
  /** A hub, or the network on the way to it, does not give a file, or gives another than it should. */
  | 'ERR_LONGVLM_HUB'
  /** Parts that do not fit together: tower and projector, projector and language model, features and tower, an evaluation and what is left of another. */
  | 'ERR_LONGVLM_MISMATCH'
  /** The prompt, the video and the answer do not fit into the context. */
  | 'ERR_LONGVLM_CONTEXT_FULL'
  /** The language model cannot be loaded or failed. */
  | 'ERR_LONGVLM_LLM'
  /** ONNX Runtime failed. */
  | 'ERR_LONGVLM_INFERENCE'
  /** No GPU can be used, or one failed. */
  | 'ERR_LONGVLM_CUDA'
  /** A GPU has not enough memory. */
  | 'ERR_LONGVLM_CUDA_OOM'
  /** The object was disposed. */
  | 'ERR_LONGVLM_DISPOSED';

/** What is found at run time, as opposed to a wrong argument (`TypeError`, `RangeError`). */
export class LongVLMError extends Error {
  override readonly name = 'LongVLMError';
  readonly code: LongVLMErrorCode;

  constructor(code: LongVLMErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The message of what is behind `error`: fetch() says only that it failed; why is in its cause. */
export function reasonOf(error: unknown): string {
  return messageOf(error instanceof Error && error.cause !== undefined ? error.cause : error);
}
