import { raceAbort } from '../base/abort.js';
import type { OnProgress } from '../base/progress.js';

/** What a caller of {@link SharedWork.run} brings along. */
export type CallOptions = {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
};

/** Work on behalf of its callers. */
export type Work<T> = (signal: AbortSignal, onProgress: OnProgress) => Promise<T>;

type Running = {
  readonly promise: Promise<unknown>;
  readonly controller: AbortController;
  /** One for each caller that waits. */
  readonly callers: Set<OnProgress>;
};

/** Runs equal work once in this process, however many ask for it at the same time. */
export class SharedWork {
  readonly #running = new Map<string, Running>();

  /**
   * Runs `work`, or waits for what another caller runs under this key. All callers get the same result and the reports of
   * progress. Work is aborted when all its callers have aborted, and the last of them waits for its end. When the work of
   * another caller fails, this caller's is run.
   *
   * @throws what `work` throws; `signal.reason`; what `onProgress` throws, which ends this call alone
   */
  async run<T>(key: string, work: Work<T>, { signal, onProgress }: CallOptions = {}): Promise<T> {
    const gaveUp = new AbortController();
    const report: OnProgress = (progress) => {
      try {
        onProgress?.(progress);
      } catch (error) {
        gaveUp.abort(error);
      }
    };
    for (;;) {
      signal?.throwIfAborted();
      const others = this.#running.get(key);
      const running = others ?? this.#start(key, work);
      running.callers.add(report);
      try {
        return (await raceAbort(running.promise, signal, gaveUp.signal)) as T;
      } catch (error) {
        await this.#leave(key, running, report, error);
        if (!others || signal?.aborted || gaveUp.signal.aborted) throw error;
      }
    }
  }

  #start(key: string, work: Work<unknown>): Running {
    const controller = new AbortController();
    const callers = new Set<OnProgress>();
    const onProgress: OnProgress = (progress) => {
      for (const report of callers) report(progress);
    };
    const promise = work(controller.signal, onProgress).finally(() => this.#forget(key, running));
    const running: Running = { promise, controller, callers };
    this.#running.set(key, running);
    return running;
  }

  async #leave(key: string, running: Running, report: OnProgress, reason: unknown): Promise<void> {
    running.callers.delete(report);
    if (running.callers.size > 0) return;
    // Whoever asks from now on must not wait for what is being aborted.
    this.#forget(key, running);
    running.controller.abort(reason);
    await running.promise.catch(() => {});
  }

  #forget(key: string, running: Running): void {
    if (this.#running.get(key) === running) this.#running.delete(key);
  }
}
