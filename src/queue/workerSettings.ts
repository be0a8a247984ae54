// What a worker takes, and what its jobs may do.
import { checkInteger, checkNumber } from '../base/validate.js';
import type { LaneLimits } from '../jobs/laneScheduler.js';
import { readSettings, type Settings } from '../service/settings.js';
import type { VideoLimits } from '../video/limits.js';
import { queueName } from './names.js';

/** Options of {@link startWorker}. */
export type QueueWorkerOptions = {
  /** Name of the queue. Defaults to `main`. */
  queue?: string | undefined;
  /** How many jobs it has at a time. Defaults to `4`. */
  jobs?: number | undefined;
  /** How many of these fetch and read, encode, and answer. Default to 4, 2 and 2. */
  lanes?: Partial<Omit<LaneLimits, 'request'>> | undefined;
  /** Folders whose files jobs may name, links followed. Defaults to none. */
  folders?: readonly string[] | undefined;
  /** Limits of each video, as those of a service: URLs lead to public addresses alone by default. */
  limits?: VideoLimits | undefined;
  /** URLs of services whose uploads it fetches. Defaults to none. */
  servers?: readonly string[] | undefined;
  /** A key of these services. */
  serverKey?: string | undefined;
  /** The most frames that are sampled from a video. Defaults to `1024`. */
  maxFrames?: number | undefined;
  /** Largest context of a conversation, in tokens. Defaults to the size that the language model was trained for. */
  contextSize?: number | undefined;
  /** The longest time of a job, in seconds. Defaults to `3600`. */
  jobSeconds?: number | undefined;
  /** How long jobs may go on once the worker is stopped, in seconds; then others begin them anew. Defaults to `30`. */
  graceSeconds?: number | undefined;
  /** A worker that says nothing for so long has lost its jobs to others, in seconds. Defaults to `15`. */
  stalledSeconds?: number | undefined;
  /** Called with a line for each job, which has no content of it. */
  onLog?: ((line: string) => void) | undefined;
};

/** {@link QueueWorkerOptions} with the defaults. */
export type WorkerSettings = Settings & {
  readonly queue: string;
  readonly jobs: number;
  readonly servers: readonly string[];
  readonly serverKey: string | undefined;
  readonly stalledMs: number;
};

/** @throws TypeError or RangeError for a wrong option */
export function readWorkerSettings(options: QueueWorkerOptions): WorkerSettings {
  const { queue, jobs = 4, servers = [], serverKey, jobSeconds = 3600, stalledSeconds = 15 } = options;
  const { lanes, folders, limits, maxFrames, contextSize, graceSeconds = 30, onLog } = options;
  checkInteger('jobs', jobs, 1, 1000);
  checkNumber('jobSeconds', jobSeconds, 0);
  checkNumber('stalledSeconds', stalledSeconds, 0.1, 3600);
  const shared = readSettings({
    folders,
    limits,
    maxFrames,
    contextSize,
    graceSeconds,
    onLog,
    lanes,
    requestSeconds: jobSeconds,
  });
  return { ...shared, queue: queueName(queue), jobs, servers, serverKey, stalledMs: Math.round(stalledSeconds * 1000) };
}
