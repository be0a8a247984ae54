// Items of batches by the workers of a queue.
import { stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { hashOf } from '../base/hash.js';
import { realPathWithin } from '../base/root.js';
import { wrongValue } from '../base/validate.js';
import {
  type BatchFailure,
  type BatchItem,
  type BatchResult,
  type BatchRunner,
  isFailure,
  isRequest,
} from '../batch/item.js';
import { ApiError } from '../service/apiError.js';
import type { Settings } from '../service/settings.js';
import type { QueueClient } from './client.js';
import { priorities, readBatchResult } from './jobs.js';
import type { QueueModel } from './model.js';

/** How long the result of an item stays at the server, for a batch that was killed: of a file, which says whether it changed, and else. */
const keepSeconds = { file: 86_400, other: 600 } as const;

/**
 * Hands items over. Equal items, by the model that answers and the state of their file, are one job: a batch that was killed finds the
 * results of what it had handed over.
 */
export function queueRunner(queue: QueueClient, { identity }: QueueModel): BatchRunner {
  return {
    identity,
    async run(item, { signal, onProgress }) {
      const state = await stateOf(item);
      const job = { kind: 'item', item, client: 'batch', inbox: queue.inbox } as const;
      try {
        const value = await queue.run(job, {
          ...{ id: `item-${hashOf([identity, item, state])}`, priority: priorities.item, signal, onProgress },
          keepSeconds: state === undefined ? keepSeconds.other : keepSeconds.file,
          // What failed is asked again.
          keeps: (result) => !isFailure(readBatchResult(result, item.id)),
          patient: true,
        });
        return readBatchResult(value, item.id);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        return failed(item, error);
      }
    },
    dispose: async () => {},
  };
}

function failed({ id }: BatchItem, { message, status }: ApiError): BatchFailure {
  const code = status < 500 ? 'ERR_LONGVLM_ARGUMENT' : 'ERR_LONGVLM_QUEUE';
  return { id, error: { code, message, canRetry: status >= 500 } };
}

/** What tells whether an item's file was changed; undefined for what is none of this machine. */
async function stateOf(item: BatchItem): Promise<unknown> {
  if (isRequest(item) || isUrl(item.video)) return undefined;
  const found = await stat(item.video).catch(() => undefined);
  return found && [found.size, found.mtimeMs];
}

/**
 * An item whose file is one that a worker may read, by its real path.
 * @throws RangeError for another file, or more frames than a worker samples
 */
export async function allowedItem(
  item: BatchItem,
  folders: readonly string[],
  { maxFrames }: Pick<Settings, 'maxFrames'>,
): Promise<BatchItem> {
  if (isRequest(item)) return item;
  const { frames, maxFrames: most } = item.options ?? {};
  for (const count of [frames, most])
    if (count !== undefined && count > maxFrames) wrongValue('frames', `integer from 1 to ${maxFrames}`, count);
  if (isUrl(item.video)) return item;
  for (const folder of folders)
    try {
      const path = item.video.startsWith('file:') ? fileURLToPath(item.video) : item.video;
      const video = await realPathWithin(folder, path);
      if ((await stat(video)).isFile()) return { ...item, video };
    } catch {
      // Perhaps in the next one.
    }
  // Whether other files exist is nobody's business.
  return wrongValue('video', 'file in a folder that the worker was started with, by --folder', item.video);
}

/** What is fetched; anything else is a file. */
function isUrl(video: string): boolean {
  return /^https?:\/\//i.test(video);
}

/** Whether another try may help. */
export function mayPassItem(result: BatchResult): boolean {
  return isFailure(result) && result.error.canRetry;
}
