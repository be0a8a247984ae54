// Names of what the queue keeps at its server.

/** In front of all keys. */
export const prefix = 'longvlm';

/** Keys of one queue beside those of BullMQ. */
export class QueueKeys {
  readonly #base: string;

  constructor(queue: string) {
    // BullMQ's own have other last parts.
    this.#base = `${prefix}:${queue}`;
  }

  /** The stream of messages for one client. */
  inbox(client: string): string {
    return `${this.#base}:inbox:${client}`;
  }

  /** Exists when a job is not wanted any more. */
  cancelled(job: string): string {
    return `${this.#base}:cancelled:${job}`;
  }

  /** The hash of a job, which is BullMQ's. */
  job(job: string): string {
    return `${this.#base}:${job}`;
  }

  /** What the workers of the queue run. */
  get model(): string {
    return `${this.#base}:model`;
  }
}

/** @throws RangeError for what is no name of a queue */
export function queueName(name = 'main'): string {
  if (!/^[\w.-]{1,64}$/.test(name))
    throw new RangeError(
      `Expected letters, digits, '_', '.' or '-' for the name of a queue but received '${name.slice(0, 80)}'`,
    );
  return name;
}
