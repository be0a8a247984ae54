/** How far any long operation has come. */
export type Progress = {
  /**
   * `download`: a file of a model is downloaded. `convert`: weights are converted to another type and written to the cache.
   * `load`: a language model is loaded. `fetch`: a video is fetched. `probe`: the structure of a video is read. `encode`:
   * frames go through the vision tower. `evaluate`: questions are answered.
   */
  readonly stage: 'download' | 'convert' | 'load' | 'fetch' | 'probe' | 'encode' | 'evaluate';
  readonly done: number;
  /** The final value of `done`; `0` when it is unknown. */
  readonly total: number;
  readonly unit: 'bytes' | 'tensors' | 'share' | 'frames' | 'questions';
  /** Name of the file that is worked on. */
  readonly name?: string;
};

/**
 * Called repeatedly with {@link Progress}. What it throws, or the rejection of a promise that it returns, ends the call to which it
 * was given, which rejects with it.
 */
export type OnProgress = (progress: Progress) => unknown;
