// Works off the jobs of a queue with one LongVLM.
import type { Job as BullJob, Worker } from 'bullmq';
import { listen } from '../base/abort.js';
import { realRoot } from '../base/root.js';
import { embeddedRunner } from '../batch/embeddedRunner.js';
import { LaneScheduler } from '../jobs/laneScheduler.js';
import type { LongVLM } from '../longvlm.js';
import { modelName } from '../service/answerer.js';
import { RequestSignals } from '../service/requestSignals.js';
import { causeOf, failureOf, mayPass } from './failures.js';
import { tell } from './inbox.js';
import { type JobResult, type Message, readJob } from './jobs.js';
import { sayModel } from './model.js';
import { QueueKeys } from './names.js';
import { TextSender } from './relayedText.js';
import type { QueueServer } from './server.js';
import { Uploads } from './uploads.js';
import { NotWanted, Wanted } from './wanted.js';
import { ItemFailed, Work } from './work.js';
import { type QueueWorkerOptions, readWorkerSettings, type WorkerSettings } from './workerSettings.js';

/** A worker that takes jobs. */
export type RunningWorker = {
  /** Takes no more jobs, gives those in work the time of `graceSeconds`, and the rest back to the queue. */
  close(signal?: AbortSignal): Promise<void>;
};

/** The worker stops: another one begins the job anew. */
class GivenBack extends Error {}

/** The job is another worker's by now. */
class LostJob extends Error {
  constructor() {
    super('this worker was silent for too long, and lost the job to another');
  }
}

/** A job whose workers died more often is given up: it may be what ends them. */
const mostDeaths = 5;
/** A job that was begun more often is given up, whatever the reasons. */
const mostStarts = 30;
const progressMs = 500;

/**
 * Takes jobs of a queue.
 * @param vlm stays the caller's, who disposes it once the worker is closed
 * @param server stays the caller's, too
 * @throws TypeError or RangeError for a wrong option; LongVLMError `ERR_LONGVLM_FILE` for a folder that is none,
 *   `ERR_LONGVLM_MISMATCH` when other workers of the queue run another model
 */
export async function startWorker(
  vlm: LongVLM,
  server: QueueServer,
  options: QueueWorkerOptions = {},
): Promise<RunningWorker> {
  const settings = readWorkerSettings(options);
  const { queue, lanes, servers, serverKey, limits, jobs, stalledMs } = settings;
  const folders = await Promise.all(settings.folders.map(realRoot));
  const uploads = new Uploads(servers, serverKey, limits);
  const scheduler = new LaneScheduler(lanes, 0);
  const keys = new QueueKeys(queue);
  const items = await embeddedRunner(vlm, { parallel: jobs, requests: settings });
  const silent = await sayModel(server, queue, { name: modelName(vlm), identity: items.identity });
  const work = new Work(vlm, settings, scheduler, uploads, folders, items);
  const desk = new Desk(work, server, keys, settings);
  const worker = server.worker(queue, (job, token) => desk.process(job, token), {
    concurrency: jobs,
    lockDuration: stalledMs,
    stalledInterval: stalledMs / 2,
    maxStalledCount: mostDeaths,
    maxStartedAttempts: mostStarts,
    drainDelay: 1,
    runRetryDelay: 1000,
  });
  desk.listen(worker);
  return {
    close: async (signal) => {
      await desk.close(worker, signal).finally(silent);
      await work.dispose();
    },
  };
}

/** The jobs that a worker is at. */
class Desk {
  readonly #work: Work;
  readonly #server: QueueServer;
  readonly #keys: QueueKeys;
  readonly #settings: WorkerSettings;
  readonly #wanted: Wanted;
  readonly #signals: RequestSignals;
  readonly #stopping = new AbortController();
  #running = 0;
  #givenBack = 0;

  constructor(work: Work, server: QueueServer, keys: QueueKeys, settings: WorkerSettings) {
    this.#work = work;
    this.#server = server;
    this.#keys = keys;
    this.#settings = settings;
    this.#wanted = new Wanted(keys, server.redis);
    this.#signals = new RequestSignals(settings.requestSeconds);
  }

  listen(worker: Worker): void {
    worker.on('error', () => {});
    worker.on('lockRenewalFailed', (jobs) => this.#wanted.abort(jobs, new LostJob()));
    worker.on('completed', (job) => this.#tellEnd(job));
    worker.on('failed', (job) => this.#tellEnd(job));
    worker.on('stalled', (job) => this.#settings.onLog(`${job} goes to another worker: its own was lost`));
  }

  /** @throws for a job that is to be tried again, or that is not wanted */
  async process(job: BullJob, token: string | undefined): Promise<JobResult> {
    const started = performance.now();
    const id = job.id ?? '';
    this.#running++;
    const log = (how: string) =>
      this.#settings.onLog(`${id} ${job.name.slice(0, 20)} ${how} ${Math.round(performance.now() - started)} ms`);
    try {
      const result = await this.#do(id, job.data);
      log('done');
      return result;
    } catch (error) {
      if (error instanceof NotWanted || error instanceof LostJob) {
        log(error.message);
        if (error instanceof LostJob) await this.#isAlive(id).catch(() => {});
        throw this.#server.lasting(error.message);
      }
      if (this.#stopping.signal.aborted) {
        log('given back');
        this.#givenBack++;
        await job.moveToWait(token);
        throw this.#server.waiting();
      }
      const isLast = job.attemptsMade + 1 >= (job.opts.attempts ?? 1);
      log(`failed${mayPass(error) && !isLast ? ', to be tried again' : ''}: ${causeOf(error)}`);
      if (mayPass(error) && !isLast) throw new Error(failureOf(error).message);
      if (error instanceof ItemFailed) return { value: error.result };
      return { failure: failureOf(error) };
    } finally {
      this.#running--;
    }
  }

  async #do(id: string, data: unknown): Promise<JobResult> {
    const job = readJob(data);
    const controller = new AbortController();
    const unwatch = this.#wanted.watch(id, job.kind === 'ask' ? job.inbox : undefined, controller);
    const unlink = listen(this.#stopping.signal, () => controller.abort(new GivenBack()));
    const send = (message: Message) => tell(this.#keys, this.#server.redis, job.inbox, message);
    const text = new TextSender((at, piece) => send({ kind: 'text', job: id, at, text: piece }));
    let told = 0;
    try {
      void send({ kind: 'begun', job: id }).catch(() => {});
      const value = await this.#signals.within(controller.signal, (signal) =>
        this.#work.do(job, {
          signal,
          onText: (piece) => text.add(piece),
          onProgress: ({ stage, done, total, unit }) => {
            if (performance.now() - told < progressMs && done < total) return;
            told = performance.now();
            void send({ kind: 'progress', job: id, progress: { stage, done, total, unit } }).catch(() => {});
          },
        }),
      );
      return { value };
    } catch (error) {
      // What was in the middle may say in its own words that it was ended.
      controller.signal.throwIfAborted();
      throw error;
    } finally {
      unlink();
      unwatch();
    }
  }

  async close(worker: Worker, signal: AbortSignal | undefined): Promise<void> {
    const { graceSeconds, onLog } = this.#settings;
    const had = this.#running;
    if (had > 0) onLog(`finishing ${jobsIn(had)}, for at most ${graceSeconds} s`);
    const stop = () => this.#stopping.abort();
    const timer = setTimeout(stop, graceSeconds * 1000);
    if (signal?.aborted) stop();
    const unlink = listen(signal, stop);
    try {
      await worker.close();
    } finally {
      clearTimeout(timer);
      unlink();
    }
    if (had > 0) onLog(`finished ${jobsIn(had - this.#givenBack)}, gave ${this.#givenBack} back to the queue`);
  }

  /** BullMQ counts a lost job as one whose worker died: of those of a slow machine, or one that was cut off, that is not so. */
  async #isAlive(job: string): Promise<void> {
    const uncount = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HINCRBY', KEYS[1], 'stc', -1) end";
    await this.#server.redis.eval(uncount, 1, this.#keys.job(job));
  }

  #tellEnd(job: BullJob | undefined): void {
    const { inbox } = (job?.data ?? {}) as { inbox?: unknown };
    if (typeof inbox !== 'string' || job?.id === undefined || inbox.length > 200) return;
    void tell(this.#keys, this.#server.redis, inbox, { kind: 'ended', job: job.id }).catch(() => {});
  }
}

function jobsIn(count: number): string {
  return count === 1 ? '1 job' : `${count} jobs`;
}
