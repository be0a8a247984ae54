// The scheduler of one process: lanes with limits of their own, fair among clients.
import type { Lane, Scheduler } from '../base/scheduler.js';

/** How many requests, and how much of each kind of work, go on at a time. */
export type LaneLimits = Readonly<Record<Lane | 'request', number>>;

/** There is no room to wait for a request; `retryAfter` seconds later there should be. */
export class QueueFull extends Error {
  readonly retryAfter: number;

  constructor(waiting: number, retryAfter: number) {
    super(`${waiting} requests wait already.`);
    this.retryAfter = retryAfter;
  }
}

type Waiting = { readonly start: () => void; readonly refuse: (reason: unknown) => void };

/** Work that goes on, and that waits, by client. */
class OneLane {
  running = 0;
  waiting = 0;
  /** Seconds that work takes, the last counting most. */
  seconds = 1;
  /** Clients in the order of their turns, each with its work in order. None is empty. */
  readonly queues = new Map<string, Waiting[]>();

  constructor(readonly limit: number) {}

  /** The client that has most waiting work. */
  get greediest(): [client: string, queue: Waiting[]] | undefined {
    return [...this.queues].sort(([, a], [, b]) => b.length - a.length)[0];
  }

  add(client: string, work: Waiting): void {
    const queue = this.queues.get(client);
    if (queue) queue.push(work);
    else this.queues.set(client, [work]);
    this.waiting++;
  }

  remove(client: string, work: Waiting): boolean {
    const queue = this.queues.get(client);
    const place = queue?.indexOf(work) ?? -1;
    if (place < 0) return false;
    queue!.splice(place, 1);
    if (queue!.length === 0) this.queues.delete(client);
    this.waiting--;
    return true;
  }

  /** Takes the next client's first work; its client is last from now on. */
  next(): Waiting | undefined {
    const [first] = this.queues;
    if (first === undefined) return undefined;
    const [client, queue] = first;
    this.queues.delete(client);
    if (queue.length > 1) this.queues.set(client, queue);
    const work = queue.shift()!;
    this.waiting--;
    return work;
  }
}

/** Runs work in lanes. Whoever waits takes turns by client; requests, which everything else belongs to, wait in a bounded queue. */
export class LaneScheduler {
  readonly #lanes: Readonly<Record<Lane | 'request', OneLane>>;
  readonly #mostWaiting: number;

  /** @param mostWaiting how many requests may wait */
  constructor(limits: LaneLimits, mostWaiting: number) {
    const { request, fetch, decode, encode, answer } = limits;
    this.#lanes = {
      request: new OneLane(request),
      fetch: new OneLane(fetch),
      decode: new OneLane(decode),
      encode: new OneLane(encode),
      answer: new OneLane(answer),
    };
    this.#mostWaiting = mostWaiting;
  }

  /** How much goes on and waits in each lane. */
  get load(): Readonly<Record<Lane | 'request', { readonly running: number; readonly waiting: number }>> {
    const of = ({ running, waiting }: OneLane) => ({ running, waiting });
    const { request, fetch, decode, encode, answer } = this.#lanes;
    return { request: of(request), fetch: of(fetch), decode: of(decode), encode: of(encode), answer: of(answer) };
  }

  /** The scheduler for the work of one client. */
  of(client: string): Scheduler {
    return { run: (lane, work, signal) => this.#run(this.#lanes[lane], client, work, signal) };
  }

  /**
   * Runs a request of a client. Where too many wait, the last of the client that has most of them is refused, be it this one.
   * @throws QueueFull; what the work throws; `signal.reason`
   */
  request<T>(client: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const lane = this.#lanes.request;
    if (lane.running >= lane.limit && lane.waiting >= this.#mostWaiting) {
      const full = new QueueFull(lane.waiting, this.#retryAfter(lane));
      const [greedy, queue] = lane.greediest ?? ['', []];
      if (queue.length <= (lane.queues.get(client)?.length ?? 0) + 1) return Promise.reject(full);
      const last = queue.at(-1)!;
      lane.remove(greedy, last);
      last.refuse(full);
    }
    return this.#run(lane, client, work, signal);
  }

  async #run<T>(lane: OneLane, client: string, work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    signal?.throwIfAborted();
    if (lane.running >= lane.limit) await this.#turn(lane, client, signal);
    else lane.running++;
    const started = performance.now();
    try {
      signal?.throwIfAborted();
      return await work();
    } finally {
      lane.seconds = 0.8 * lane.seconds + 0.2 * ((performance.now() - started) / 1000);
      const next = lane.next();
      // Whoever is next takes this place.
      if (next) next.start();
      else lane.running--;
    }
  }

  async #turn(lane: OneLane, client: string, signal: AbortSignal | undefined): Promise<void> {
    let onAbort = () => {};
    try {
      await new Promise<void>((start, refuse) => {
        const waiting: Waiting = { start, refuse };
        lane.add(client, waiting);
        onAbort = () => {
          if (lane.remove(client, waiting)) refuse(signal!.reason);
        };
        signal?.addEventListener('abort', onAbort, { once: true });
      });
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Seconds until what waits should have begun. */
  #retryAfter({ waiting, limit, seconds }: OneLane): number {
    return Math.min(60, Math.max(1, Math.ceil(((waiting + 1) * seconds) / limit)));
  }
}
