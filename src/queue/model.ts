// What the workers of a queue run: the first one says it, others must run the same. Answers are then the same whoever gives them.
import * as v from 'valibot';
import { LongVLMError } from '../base/errors.js';
import { parseJsonText } from '../base/json.js';
import { nonEmptyString } from '../base/schema.js';
import { wait } from '../base/wait.js';
import { embeddedRunner } from '../batch/embeddedRunner.js';
import type { LongVLM } from '../longvlm.js';
import { modelName } from '../service/answerer.js';
import { QueueKeys, queueName } from './names.js';
import type { QueueServer } from './server.js';

/** A worker that says nothing for so long is gone. */
const keptMs = 15_000;
const refreshMs = 5000;

const modelSchema = v.object({ name: nonEmptyString, identity: nonEmptyString });
/** A model by its name, and by a hash of all that answers depend on. */
export type QueueModel = v.InferOutput<typeof modelSchema>;

/** What a LongVLM runs. */
export async function modelOf(vlm: LongVLM): Promise<QueueModel> {
  const { identity } = await embeddedRunner(vlm);
  return { name: modelName(vlm), identity };
}

/** What the workers of a queue run; undefined while there is none. */
export async function modelIn({ redis }: QueueServer, keys: QueueKeys): Promise<QueueModel | undefined> {
  const text = (await redis.call('GET', keys.model)) as string | null;
  if (text === null) return undefined;
  try {
    const read = v.safeParse(modelSchema, parseJsonText(text));
    return read.success ? read.output : undefined;
  } catch {
    return undefined;
  }
}

/**
 * What the workers of a queue run, once there is one.
 * @param onWaiting called when there is none yet
 * @throws `signal.reason`
 */
export async function firstModel(
  server: QueueServer,
  queue: string,
  onWaiting: () => void,
  signal?: AbortSignal,
): Promise<QueueModel> {
  const keys = new QueueKeys(queue);
  for (let tries = 0; ; tries++) {
    const model = await modelIn(server, keys);
    if (model !== undefined) return model;
    if (tries === 0) onWaiting();
    await wait(500, signal);
  }
}

/**
 * Checks that the workers of a queue run what this process does.
 * @throws LongVLMError `ERR_LONGVLM_MISMATCH`
 */
export async function checkModel(server: QueueServer, queue: string, own: QueueModel): Promise<void> {
  const model = await modelIn(server, new QueueKeys(queueName(queue)));
  if (model === undefined || model.identity === own.identity) return;
  const other = model.name === own.name ? `${model.name} with other options or of another release` : model.name;
  throw new LongVLMError(
    'ERR_LONGVLM_MISMATCH',
    `The workers of the queue '${queue}' run ${other}, and this process ${own.name}. Start all with the same options of the model, or give another --queue-name.`,
  );
}

/**
 * Says what this worker runs, for as long as it does.
 * @returns ends it
 * @throws as {@link checkModel}
 */
export async function sayModel(server: QueueServer, queue: string, own: QueueModel): Promise<() => void> {
  const keys = new QueueKeys(queue);
  const say = () => server.redis.call('SET', keys.model, JSON.stringify(own), 'PX', keptMs);
  const isFirst = (await server.redis.call('SET', keys.model, JSON.stringify(own), 'PX', keptMs, 'NX')) === 'OK';
  if (!isFirst) await checkModel(server, queue, own);
  const timer = setInterval(() => void say().catch(() => {}), refreshMs);
  return () => clearInterval(timer);
}
