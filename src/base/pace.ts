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

/** Does work on ranges that make up all from 0 to `count`, of at most `atOnce` each, in short turns. */
export async function inTurns(count: number, atOnce: number, work: (from: number, to: number) => void): Promise<void> {
  const pace = new Pace();
  for (let from = 0; from < count; from += atOnce) {
    if (pace.isDue) await pace.rest();
    work(from, Math.min(count, from + atOnce));
  }
}
