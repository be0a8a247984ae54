// Flags of commands that use a queue.
import { type Command, Option } from 'commander';
import type { BatchRunner } from '../batch/item.js';
import type { LongVLM } from '../longvlm.js';
import type { QueueClient } from '../queue/client.js';
import { ProgressBar } from './progress.js';

export type QueueFlags = { queue?: string; queueName: string };

/** @param what is done with the jobs of the queue */
export function addQueueOptions(command: Command, what: string): Command {
  return command
    .addOption(
      new Option(
        '--queue <url>',
        `${what} a queue at a Valkey or Redis server, such as redis://host:6379 or rediss://user:password@host:6379/0; needs the packages bullmq and ioredis`,
      ).env('LONGVLM_QUEUE'),
    )
    .addOption(
      new Option('--queue-name <name>', 'name of the queue; all that use it have the same model').default('main'),
    );
}

/** Tells about the queue's server on standard error. */
export const logQueue = (line: string) => process.stderr.write(`longvlm: ${line}\n`);

/** A client of the queue that flags name, whose workers run what `vlm` does; undefined where they name none. */
export async function openQueue(
  { queue, queueName }: QueueFlags,
  vlm: LongVLM,
  signal: AbortSignal,
): Promise<QueueClient | undefined> {
  if (queue === undefined) return undefined;
  // Loaded here: who uses no queue needs none of it.
  const [{ QueueServer }, { QueueClient }, { checkModel, modelOf }] = await Promise.all([
    import('../queue/server.js'),
    import('../queue/client.js'),
    import('../queue/model.js'),
  ]);
  const server = await QueueServer.connect(queue, logQueue, signal);
  try {
    await checkModel(server, queueName, await modelOf(vlm));
    return await QueueClient.open(server, queueName);
  } catch (error) {
    server.close();
    throw error;
  }
}

/** Calls `use` with what hands the items of a batch to a queue. */
export async function withQueueRunner(
  { queue, queueName }: QueueFlags,
  signal: AbortSignal,
  use: (runner: BatchRunner, progress: ProgressBar) => Promise<void>,
): Promise<void> {
  const [{ QueueServer }, { QueueClient }, { firstModel }, { queueRunner }] = await Promise.all([
    import('../queue/server.js'),
    import('../queue/client.js'),
    import('../queue/model.js'),
    import('../queue/items.js'),
  ]);
  const progress = new ProgressBar();
  const server = await QueueServer.connect(queue!, logQueue, signal);
  let client: QueueClient | undefined;
  try {
    const onWaiting = () => logQueue(`no worker takes jobs of the queue '${queueName}' yet: waiting for one`);
    const model = await firstModel(server, queueName, onWaiting, signal);
    client = await QueueClient.open(server, queueName);
    await use(queueRunner(client, model), progress);
  } finally {
    progress.stop();
    await client?.close();
    server.close();
  }
}
