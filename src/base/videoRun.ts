/** Consecutive tokens of a video, and what part of it they stand for. */
export type VideoRun = {
  /**
   * `global`: tokens of the whole video. `segment`: tokens of a segment that were averaged over its frames. `step`: tokens of one
   * frame, or of the frames that the tower takes together, each of one place in it.
   */
  readonly kind: 'global' | 'segment' | 'step';
  /** The span of the video, in seconds: from its first frame to that of the run behind it. */
  readonly start: number;
  readonly end: number;
  /** Times of its frames, in seconds. */
  readonly times: readonly number[];
  /** Number of tokens. */
  readonly tokens: number;
};

/** Where the tokens of a run were in its frame, for language models that place tokens by time, row and column (M-RoPE). */
export type RunPlaces = {
  readonly rows: number;
  readonly columns: number;
  /** For each token: row · `columns` + column, ascending. */
  readonly places: Int32Array;
};

/** A video's tokens as a list of runs, in the order of the tokens. */
export type VideoRuns = {
  readonly runs: readonly (VideoRun & { readonly at?: RunPlaces })[];
  readonly durationSeconds: number;
  /**
   * For language models that place tokens by time, row and column: positions of a second. Runs that no text separates then follow
   * each other in it. Defaults to each run behind the one before, as long as its longer side.
   */
  readonly positionsPerSecond?: number;
};
