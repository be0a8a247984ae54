// Whether the jobs that a worker is at are still wanted.
import type { Redis } from 'ioredis';
import type { QueueKeys } from './names.js';

/** How soon an end is noticed. */
const everyMs = 300;
/** A client may be away for so long, while the server that both are connected to starts again. */
const patienceMs = 6000;

/** The client of a job does not want it any more, or is gone. */
export class NotWanted extends Error {
  constructor() {
    super('cancelled');
  }
}

type Watched = { readonly inbox: string | undefined; readonly controller: AbortController; goneSince?: number };

/** Aborts jobs that are cancelled, by looking for their keys: a lost connection loses none of these. */
export class Wanted {
  readonly #keys: QueueKeys;
  readonly #redis: Redis;
  readonly #jobs = new Map<string, Watched>();
  #timer: NodeJS.Timeout | undefined;
  #looking = false;

  constructor(keys: QueueKeys, redis: Redis) {
    this.#keys = keys;
    this.#redis = redis;
  }

  /**
   * @param inbox of a client without whom the job is not wanted
   * @param controller aborts with {@link NotWanted}
   * @returns ends the watch
   */
  watch(job: string, inbox: string | undefined, controller: AbortController): () => void {
    const watched: Watched = { inbox, controller };
    this.#jobs.set(job, watched);
    this.#timer ??= setInterval(() => void this.#look(), everyMs);
    void this.#look();
    return () => {
      if (this.#jobs.get(job) === watched) this.#jobs.delete(job);
      if (this.#jobs.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    };
  }

  /** Ends jobs that are no longer this worker's. */
  abort(jobs: readonly string[], reason: unknown): void {
    for (const job of jobs) this.#jobs.get(job)?.controller.abort(reason);
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      await Promise.all(Array.from(this.#jobs, ([job, watched]) => this.#lookAt(job, watched)));
    } catch {
      // The server is away: what is not wanted is seen when it is back.
    } finally {
      this.#looking = false;
    }
  }

  async #lookAt(job: string, watched: Watched): Promise<void> {
    const { inbox, controller } = watched;
    const [isCancelled, isThere] = await Promise.all([
      this.#redis.call('EXISTS', this.#keys.cancelled(job)),
      inbox === undefined ? 1 : this.#redis.call('EXISTS', this.#keys.inbox(inbox)),
    ]);
    if (isThere === 1) delete watched.goneSince;
    else watched.goneSince ??= performance.now();
    const isGone = watched.goneSince !== undefined && performance.now() - watched.goneSince > patienceMs;
    if (isCancelled === 1 || isGone) controller.abort(new NotWanted());
  }
}
