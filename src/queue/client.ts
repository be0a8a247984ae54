// Hands jobs to the workers of a queue, and takes their results: each once, whatever happens between.
import type { Queue } from 'bullmq';
import { raceAbort } from '../base/abort.js';
import type { Progress } from '../base/progress.js';
import { errorOf } from './failures.js';
import { Inbox } from './inbox.js';
import { type Job, type JobResult, type Message, readResult } from './jobs.js';
import { QueueKeys, queueName } from './names.js';
import type { QueueServer } from './server.js';

/** How a job is handed over. */
export type HandedOver = {
  /** Equal ids are the same job: one that is there already is not asked again. */
  readonly id: string;
  /** As in {@link priorities}. */
  readonly priority: number;
  /** How long the result stays for others, in seconds. Defaults to `0`: it is removed once it is delivered. */
  readonly keepSeconds?: number;
  /** Whether a result stays; it does by default. */
  readonly keeps?: (value: unknown) => boolean;
  /** Whether it waits for as long as there is no worker. Defaults to `false`. */
  readonly patient?: boolean;
  /** Cancels the job, wherever it is. */
  readonly signal?: AbortSignal | undefined;
  /** Called with pieces of text; `at` is how many characters are before it. Some may come twice, and others not at all. */
  readonly onPiece?: ((at: number, text: string) => void) | undefined;
  readonly onProgress?: ((progress: Omit<Progress, 'name'>) => void) | undefined;
};

type Pending = HandedOver & {
  readonly job: Job;
  readonly settle: (result: JobResult) => void;
  added: boolean;
  begun: boolean;
};

/** How often a job is tried where that may help, and how long after the first time. */
const attempts = 3;
const backoffMs = 1000;
/** Results are looked for so often, beside the messages about them. */
const lookMs = 1000;
/** How long results stay whose client does not come. */
const keptSeconds = 86_400;
/** A cancelled job is known as such for so long. */
const cancelledSeconds = 3600;
/** A job waits for so long where there is no worker. */
const withoutWorkerMs = 15_000;

/** A client of one queue. */
export class QueueClient {
  readonly #server: QueueServer;
  readonly #keys: QueueKeys;
  readonly #queue: Queue;
  readonly #inbox: Inbox;
  readonly #pending: Map<string, Pending>;
  readonly #tails = new Set<Promise<unknown>>();
  readonly #timer: NodeJS.Timeout;
  #withoutWorkerSince: number | undefined;

  private constructor(server: QueueServer, keys: QueueKeys, queue: Queue, inbox: Inbox, pending: Map<string, Pending>) {
    this.#server = server;
    this.#keys = keys;
    this.#queue = queue;
    this.#inbox = inbox;
    this.#pending = pending;
    this.#timer = setInterval(() => this.#tail(this.#look()), lookMs);
  }

  /**
   * @param server is closed with the client
   * @throws RangeError for what is no name of a queue
   */
  static async open(server: QueueServer, name = 'main'): Promise<QueueClient> {
    const keys = new QueueKeys(queueName(name));
    const pending = new Map<string, Pending>();
    let onEnded = (_: string) => {};
    const inbox = await Inbox.open(keys, server.redis, server.duplicate(), (message) =>
      take(message, pending, (id) => onEnded(id)),
    );
    const client = new QueueClient(server, keys, server.queue(name), inbox, pending);
    onEnded = (id) => client.#tail(client.#lookAt(id));
    return client;
  }

  /** The name of its stream of messages, for jobs. */
  get inbox(): string {
    return this.#inbox.id;
  }

  /**
   * Hands a job over, and waits for its result.
   * @returns the result's value, which is not checked
   * @throws ApiError for a job that failed; `signal.reason`
   */
  async run(job: Job, options: HandedOver): Promise<unknown> {
    const { id, signal, keepSeconds = 0, keeps = () => true } = options;
    signal?.throwIfAborted();
    if (this.#pending.has(id)) throw new RangeError(`Expected id that is not in work for id but received '${id}'`);
    let settle: Pending['settle'] = () => {};
    const settled = new Promise<JobResult>((resolve) => {
      settle = resolve;
    });
    const pending: Pending = { ...options, job, settle, added: false, begun: false };
    this.#pending.set(id, pending);
    let stays = false;
    try {
      await raceAbort(this.#add(pending), signal);
      this.#tail(this.#lookAt(id));
      const result = await raceAbort(settled, signal);
      if ('failure' in result) throw errorOf(result.failure);
      stays = keepSeconds > 0 && keeps(result.value);
      return result.value;
    } finally {
      this.#pending.delete(id);
      if (signal?.aborted) this.#tail(this.#cancel(id));
      else if (!stays) this.#tail(this.#queue.remove(id));
    }
  }

  /** Cancels what is in work, and closes the connections. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const { id, settle } of this.#pending.values()) {
      settle(unavailable('The service stops. Ask again later.'));
      this.#tail(this.#cancel(id));
    }
    // What is left to do is done where the server is there.
    await Promise.race([Promise.all(this.#tails), new Promise((resolve) => setTimeout(resolve, 1000).unref())]);
    await this.#inbox.close();
    await this.#queue.close().catch(() => {});
    this.#server.close();
  }

  async #add(pending: Pending): Promise<void> {
    const { id, job, priority, keepSeconds = 0 } = pending;
    await this.#server.redis.call('DEL', this.#keys.cancelled(id));
    // One that failed is asked again.
    const [finished, , failed] = await this.#stateOf(id);
    if (finished !== null && failed !== null) await this.#queue.remove(id);
    const kept = { age: Math.max(keepSeconds, keptSeconds) };
    await this.#queue.add(job.kind, job, {
      jobId: id,
      ...(priority > 0 && { priority }),
      attempts,
      backoff: { type: 'exponential', delay: backoffMs, jitter: 0.5 },
      removeOnComplete: kept,
      removeOnFail: kept,
    });
    pending.added = true;
  }

  /** When a job finished, when it was added, why it failed, and its result; null for what there is not. */
  #stateOf(id: string): Promise<(string | null)[]> {
    const fields = ['finishedOn', 'timestamp', 'failedReason', 'returnvalue'];
    return this.#server.redis.call('HMGET', this.#keys.job(id), ...fields) as Promise<(string | null)[]>;
  }

  async #look(): Promise<void> {
    if (this.#pending.size === 0) return;
    await Promise.all([...this.#pending.keys()].map((id) => this.#lookAt(id)));
    await this.#lookForWorkers();
  }

  async #lookAt(id: string): Promise<void> {
    const pending = this.#pending.get(id);
    if (!pending?.added) return;
    const [finished, added, failed, value] = await this.#stateOf(id);
    if (this.#pending.get(id) !== pending) return;
    if (added === null) {
      // The server has lost it, or someone removed it.
      pending.added = false;
      await this.#add(pending);
    } else if (finished != null) pending.settle(failed == null ? resultOf(value) : lost(failed));
  }

  async #lookForWorkers(): Promise<void> {
    const isThere = (await this.#server.redis.call('EXISTS', this.#keys.model)) === 1;
    this.#withoutWorkerSince = isThere ? undefined : (this.#withoutWorkerSince ?? performance.now());
    if (performance.now() - (this.#withoutWorkerSince ?? Number.POSITIVE_INFINITY) < withoutWorkerMs) return;
    if (isThere) return;
    for (const { patient, settle } of this.#pending.values())
      if (!patient) settle(unavailable('No worker takes jobs of the queue. Ask again later.'));
  }

  async #cancel(id: string): Promise<void> {
    await this.#server.redis.call('SET', this.#keys.cancelled(id), '1', 'EX', cancelledSeconds);
    // Where it waits it is gone at once; who is at it sees the key.
    await this.#queue.remove(id).catch(() => {});
  }

  /** Work that nobody waits for. */
  #tail(work: Promise<unknown>): void {
    const tail = work.catch(() => {}).finally(() => this.#tails.delete(tail));
    this.#tails.add(tail);
  }
}

function take(message: Message, pending: ReadonlyMap<string, Pending>, onEnded: (id: string) => void): void {
  const job = pending.get(message.job);
  if (!job) return;
  job.begun = true;
  if (message.kind === 'text') job.onPiece?.(message.at, message.text);
  else if (message.kind === 'progress') job.onProgress?.(message.progress);
  else if (message.kind === 'ended') onEnded(message.job);
}

function resultOf(value: string | null | undefined): JobResult {
  try {
    return readResult(JSON.parse(value ?? ''));
  } catch {
    return unavailable('The worker gave no result that can be read. Update it, or this service.');
  }
}

function unavailable(message: string): JobResult {
  return { failure: { status: 503, message, code: null, param: null } };
}

/** Only what no worker could tell of fails in the queue itself. */
function lost(reason: string): JobResult {
  const message = /stalled|started more/.test(reason)
    ? 'The workers at this job were lost too often: it may be what ends them. See how they ended, and ask again.'
    : reason === 'cancelled'
      ? 'The job was cancelled.'
      : 'The job failed. The log of its worker says why.';
  return unavailable(message);
}
