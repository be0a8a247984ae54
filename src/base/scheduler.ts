/** Kinds of work that compete for the same parts of a machine. */
export type Lane = 'fetch' | 'decode' | 'encode' | 'answer';

/** Decides when work may begin. */
export interface Scheduler {
  /**
   * Runs work when its lane has room.
   * @throws what the work throws; `signal.reason` where it aborts before the work begins
   */
  run<T>(lane: Lane, work: () => Promise<T>, signal?: AbortSignal): Promise<T>;
}
