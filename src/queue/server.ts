// The server of a queue, Valkey or Redis, and connections to it.
import type { Queue, Worker, WorkerOptions } from 'bullmq';
import type { Redis } from 'ioredis';
import { raceAbort } from '../base/abort.js';
import { connectionReason } from '../base/connectionReason.js';
import { LongVLMError } from '../base/errors.js';
import { prefix } from './names.js';
import { addressName, type RedisAddress, readRedisUrl } from './redisUrl.js';

/** What runs a job; its token shows that the job is this worker's. */
export type Processor = NonNullable<Extract<ConstructorParameters<typeof Worker>[1], (...args: never[]) => unknown>>;

const connectMs = 5000;
const longestBackoffMs = 2000;

/** A server that answers. */
export class QueueServer {
  /** Its address without what is secret. */
  readonly name: string;
  /** For commands that do not block. They wait while the server is away. */
  readonly redis: Redis;
  readonly #modules: Modules;
  readonly #onLog: (line: string) => void;

  private constructor(modules: Modules, address: RedisAddress, onLog: (line: string) => void) {
    this.name = addressName(address);
    this.#modules = modules;
    this.#onLog = onLog;
    this.redis = new modules.Redis({
      ...address,
      // Whose replies have one shape with all servers.
      protocol: 2,
      maxRetriesPerRequest: null,
      connectTimeout: connectMs,
      retryStrategy: (times) => Math.min(50 * 2 ** times, longestBackoffMs),
    });
    this.#logAbsences();
  }

  /**
   * @param url as {@link readRedisUrl} takes it
   * @param onLog called with a line when the server is away, and when it is back
   * @throws RangeError for what is no URL; LongVLMError `ERR_LONGVLM_QUEUE` when BullMQ is not installed, or the server does not answer;
   *   `signal.reason`
   */
  static async connect(url: string, onLog: (line: string) => void, signal?: AbortSignal): Promise<QueueServer> {
    const address = readRedisUrl(url);
    const modules = await loadModules();
    await raceAbort(checkAnswers(modules, address), signal);
    return new QueueServer(modules, address, onLog);
  }

  /** A connection of its own. It is the caller's to disconnect. */
  duplicate(): Redis {
    const redis = this.redis.duplicate();
    redis.on('error', () => {});
    return redis;
  }

  queue(name: string): Queue {
    const queue = new this.#modules.Queue(name, { connection: this.redis, prefix, skipMetasUpdate: true });
    queue.on('error', () => {});
    return queue;
  }

  worker(name: string, process: Processor, options: Omit<WorkerOptions, 'connection' | 'prefix'>): Worker {
    return new this.#modules.Worker(name, process, { ...options, connection: this.redis, prefix });
  }

  /** What a job is failed with that is not tried again. */
  lasting(message: string): Error {
    return new this.#modules.UnrecoverableError(message);
  }

  /** What a worker says of a job that it put back. */
  waiting(): Error {
    return new this.#modules.WaitingError();
  }

  close(): void {
    this.redis.disconnect();
  }

  #logAbsences(): void {
    let away = false;
    // Why is told by each failed try: the first line is enough.
    this.redis.on('error', () => {});
    this.redis.on('reconnecting', () => {
      if (!away) this.#onLog(`the server of the queue, ${this.name}, is away: trying again until it is back`);
      away = true;
    });
    this.redis.on('ready', () => {
      if (away) this.#onLog(`the server of the queue, ${this.name}, is back`);
      away = false;
    });
  }
}

type Modules = Pick<typeof import('bullmq'), 'Queue' | 'Worker' | 'UnrecoverableError' | 'WaitingError'> &
  Pick<typeof import('ioredis'), 'Redis'>;

/** Only who uses a queue needs its packages. */
async function loadModules(): Promise<Modules> {
  try {
    const [{ Queue, Worker, UnrecoverableError, WaitingError }, { Redis }] = await Promise.all([
      import('bullmq'),
      import('ioredis'),
    ]);
    return { Queue, Worker, UnrecoverableError, WaitingError, Redis };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new LongVLMError(
      'ERR_LONGVLM_QUEUE',
      'A queue needs BullMQ, which is not installed. Run: npm install bullmq@6 ioredis@6',
      { cause: error },
    );
  }
}

async function checkAnswers({ Redis }: Modules, address: RedisAddress): Promise<void> {
  const redis = new Redis({
    ...address,
    protocol: 2,
    lazyConnect: true,
    connectTimeout: connectMs,
    commandTimeout: connectMs,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  // What connect() rejects with says only that it failed.
  let cause: unknown;
  redis.on('error', (error) => {
    cause ??= error;
  });
  try {
    await redis.connect();
    await redis.ping();
    // One that there is not would be passed over.
    if (address.db > 0) await redis.select(address.db);
  } catch (error) {
    throw notAnswering(addressName(address), cause ?? error);
  } finally {
    redis.disconnect();
  }
}

function notAnswering(name: string, error: unknown): LongVLMError {
  const reason = connectionReason(error, connectMs / 1000);
  const refuses = /WRONGPASS|NOAUTH|NOPERM|invalid DB|out of range/i.test(reason);
  const text = refuses
    ? `The server of the queue, ${name}, refuses: ${reason}. Check user, password and number of the database in the URL: redis://USER:PASSWORD@HOST:PORT/0.`
    : `No server of a queue answers at ${name}: ${reason}. Start Valkey or Redis there, or give the URL of another.`;
  return new LongVLMError('ERR_LONGVLM_QUEUE', text, { cause: error });
}
