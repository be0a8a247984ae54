/** How far something that takes time has come: whatever it is, in one shape. */
export type Progress = {
  /**
   * `download`: a file of a model. `convert`: weights are written out in another type. `load`: a language model is read.
   * `fetch`: a video is fetched. `probe`: its structure is read. `encode`: its frames go through the tower. `evaluate`:
   * questions are answered.
   */
  readonly stage: 'download' | 'convert' | 'load' | 'fetch' | 'probe' | 'encode' | 'evaluate';
  readonly done: number;
  /** What `done` comes to in the end; `0` where nobody knows. */
  readonly total: number;
  readonly unit: 'bytes' | 'tensors' | 'share' | 'frames' | 'questions';
  /** What it is about: the name of a file. */
  readonly name?: string;
};

/** Called again and again with {@link Progress}. */
export type OnProgress = (progress: Progress) => void;
