import { setImmediate } from 'node:timers/promises';

const turnMs = 5;

/** Breaks long work on the main thread into short turns, so that timers, sockets and aborts are served between them. */
export class Pace {
  #since = performance.now();

  /** Whether the turn has lasted long enough. Takes some 50 ns: ask every few hundred steps. */
  get isDue(): boolean {
    return performance.now() - this.#since > turnMs;
  }

  /** Lets everything else run. */
  async rest(): Promise<void> {
    await setImmediate();
    this.#since = performance.now();
  }
}
