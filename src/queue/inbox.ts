// Messages from workers to the clients of their jobs: for each client a stream, which it reads in order, going on where it was
// when its connection was lost. The stream exists while its client does.
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { wait } from '../base/wait.js';
import { type Message, readMessage } from './jobs.js';
import type { QueueKeys } from './names.js';

/** How long a stream outlives its client. */
const outlivesMs = 10_000;
const refreshMs = 3000;
const blockMs = 5000;
/** More messages than that are not kept for a client that reads slowly: what they tell is in the results, too. */
const mostKept = 100_000;

/** The stream of one client. */
export class Inbox {
  readonly id = randomUUID();
  readonly #key: string;
  readonly #redis: Redis;
  readonly #blocking: Redis;
  readonly #onMessage: (message: Message) => void;
  readonly #closed = new AbortController();
  #last = '0';
  #timer: NodeJS.Timeout | undefined;

  private constructor(keys: QueueKeys, redis: Redis, blocking: Redis, onMessage: (message: Message) => void) {
    this.#key = keys.inbox(this.id);
    this.#redis = redis;
    this.#blocking = blocking;
    this.#onMessage = onMessage;
  }

  /** @param blocking a connection that nothing else uses; it is closed with the inbox */
  static async open(
    keys: QueueKeys,
    redis: Redis,
    blocking: Redis,
    onMessage: (message: Message) => void,
  ): Promise<Inbox> {
    const inbox = new Inbox(keys, redis, blocking, onMessage);
    await inbox.#refresh();
    inbox.#timer = setInterval(() => void inbox.#refresh().catch(() => {}), refreshMs);
    void inbox.#read();
    return inbox;
  }

  async close(): Promise<void> {
    this.#closed.abort();
    clearInterval(this.#timer);
    this.#blocking.disconnect();
    await this.#redis.call('DEL', this.#key).catch(() => {});
  }

  /** Keeps the stream, or makes it anew: it expires when its server is away for long. */
  async #refresh(): Promise<void> {
    if ((await this.#redis.call('PEXPIRE', this.#key, outlivesMs)) === 0) {
      await this.#redis.call('XADD', this.#key, '*', 'message', '');
      await this.#redis.call('PEXPIRE', this.#key, outlivesMs);
    }
    if (this.#last !== '0') await this.#redis.call('XTRIM', this.#key, 'MINID', this.#last);
  }

  async #read(): Promise<void> {
    const { signal } = this.#closed;
    while (!signal.aborted)
      try {
        const query = ['COUNT', 500, 'BLOCK', blockMs, 'STREAMS', this.#key, this.#last];
        const read = (await this.#blocking.call('XREAD', ...query)) as [string, [string, string[]][]][] | null;
        for (const [id, [, text]] of read?.[0]?.[1] ?? []) {
          this.#last = id;
          const message = readMessage(text ?? '');
          if (message) this.#onMessage(message);
        }
      } catch {
        await wait(200, signal).catch(() => {});
      }
  }
}

/** Sends a message to a client; to none where it is gone. */
export async function tell(keys: QueueKeys, redis: Redis, inbox: string, message: Message): Promise<void> {
  const where = ['NOMKSTREAM', 'MAXLEN', '~', mostKept, '*'];
  await redis.call('XADD', keys.inbox(inbox), ...where, 'message', JSON.stringify(message));
}
