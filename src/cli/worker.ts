import { Command, Option } from 'commander';
import { isS3 } from '../cache/s3Address.js';
import { FeaturesCache } from '../encode/featuresCache.js';
import { readRedisUrl } from '../queue/redisUrl.js';
import type { QueueWorkerOptions } from '../queue/workerSettings.js';
import { readWorkerSettings } from '../queue/workerSettings.js';
import type { Sandbox } from '../video/limits.js';
import {
  addLanguageOptions,
  addVisionOptions,
  collected,
  decimal,
  integer,
  limitsOf,
  loadOptionsToChat,
  type ModelFlags,
} from './options.js';
import { addQueueOptions, logQueue, type QueueFlags } from './queueOptions.js';
import { run } from './run.js';
import { sandboxOption, tellSandbox } from './sandboxOption.js';
import { secondSignal } from './secondSignal.js';
import { withLongVLM } from './withLongVLM.js';

type Flags = ModelFlags &
  QueueFlags & {
    jobs: number;
    decodings: number;
    encodings: number;
    answers: number;
    folder?: string[];
    allowHost?: string[];
    allowPrivate?: boolean;
    sandbox: Sandbox;
    server?: string[];
    features?: string;
    featuresEndpoint?: string;
    contextSize?: number;
    framesLimit: number;
    jobSeconds: number;
    graceSeconds: number;
    stalledSeconds: number;
    log?: boolean;
  };

const number = (flags: string, description: string, value: number, min = 1) =>
  new Option(flags, description).argParser(integer(min)).default(value);
const time = (flags: string, description: string, value: number) =>
  new Option(flags, description).argParser(decimal(0, 1e6)).default(value);

/** `longvlm worker` */
export function workerCommand(): Command {
  const command = new Command('worker').description(
    'take jobs of longvlm serve --queue and longvlm batch --queue from a queue',
  );
  addQueueOptions(command, 'take the jobs of')
    .addOption(number('--jobs <n>', 'jobs at a time', 4))
    .addOption(number('--decodings <n>', 'of these, videos that are fetched and read at a time', 4))
    .addOption(number('--encodings <n>', 'of these, videos that are encoded at a time', 2))
    .addOption(number('--answers <n>', 'of these, answers that are written at a time', 2))
    .addOption(
      new Option(
        '--folder <dir>',
        'a folder whose files jobs may name, at the same path on all machines; can be given again',
      ).argParser(collected),
    )
    .addOption(
      new Option(
        '--allow-host <name>',
        'a host that URLs may lead to, or *.NAME for those below; can be given again (default: all)',
      ).argParser(collected),
    )
    .option('--allow-private', 'fetch URLs of this machine and of private networks, too')
    .addOption(sandboxOption())
    .addOption(
      new Option(
        '--server <url>',
        'a longvlm serve whose uploads it fetches, with the key in $LONGVLM_SERVER_KEY; can be given again',
      ).argParser(collected),
    )
    .option(
      '--features <place>',
      'a folder, or s3://BUCKET/PREFIX, for features that all workers share (default: the cache of this user)',
    )
    .option(
      '--features-endpoint <url>',
      "the S3-compatible server of --features (default: $AWS_ENDPOINT_URL_S3, $AWS_ENDPOINT_URL, or Amazon's)",
    )
    .addOption(number('--frames-limit <n>', 'most frames that a job may have sampled', 1024))
    .addOption(
      new Option('--context-size <n>', "largest context, in tokens (default: the model's)").argParser(integer(16)),
    )
    .addOption(time('--job-seconds <s>', 'longest time for a job', 3600))
    .addOption(
      time('--grace-seconds <s>', 'how long jobs may go on after SIGTERM or Ctrl-C; a second one gives them back', 30),
    )
    .addOption(time('--stalled-seconds <s>', 'a worker that is silent for so long loses its jobs to others', 15))
    .option('--no-log', 'write no line for each job to standard error')
    .addHelpText(
      'after',
      `
Examples:
  longvlm worker --queue redis://10.0.0.5:6379 --folder /srv/videos
  longvlm batch /srv/videos --questions questions.txt -o results.jsonl --queue redis://10.0.0.5:6379

A password is better in the environment, as LONGVLM_QUEUE, than on the command line, which all users of a machine see.`,
    );
  return addLanguageOptions(addVisionOptions(command)).action((flags: Flags) => run((signal) => work(flags, signal)));
}

async function work(flags: Flags, signal: AbortSignal): Promise<void> {
  if (flags.queue === undefined)
    throw new TypeError('Expected a URL such as redis://host:6379 for --queue but received undefined');
  readRedisUrl(flags.queue);
  if (flags.featuresEndpoint !== undefined && !isS3(flags.features ?? ''))
    throw new TypeError(
      `Expected s3://BUCKET for --features, with --features-endpoint, but received ${flags.features}`,
    );
  const options = workerOptions(flags);
  readWorkerSettings(options);
  await tellSandbox(flags);
  const [{ QueueServer }, { startWorker }] = await Promise.all([
    import('../queue/server.js'),
    import('../queue/worker.js'),
  ]);
  const server = await QueueServer.connect(flags.queue, logQueue, signal);
  try {
    const cache = await featuresOf(flags, signal);
    const limits = { ...options.limits, privateAddresses: flags.allowPrivate === true, lists: false };
    await withLongVLM(
      flags,
      signal,
      async (vlm, progress) => {
        const worker = await startWorker(vlm, server, options);
        progress.stop();
        logQueue(`taking up to ${flags.jobs} jobs at a time of '${flags.queueName}' at ${server.name}`);
        if (!signal.aborted)
          await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
        await secondSignal((again) => worker.close(again));
      },
      (given) => ({ ...loadOptionsToChat(given), ...(cache && { cache }), limits }),
    );
  } finally {
    server.close();
  }
}

/** Where features are kept; undefined for the usual place. */
async function featuresOf({ features, featuresEndpoint: endpoint }: Flags, signal: AbortSignal) {
  if (features === undefined) return undefined;
  return FeaturesCache.open(features, undefined, { endpoint, onLog: logQueue, signal });
}

function workerOptions(flags: Flags): QueueWorkerOptions {
  const { queueName, jobs, folder, server, contextSize, jobSeconds, graceSeconds, stalledSeconds } = flags;
  return {
    ...{
      queue: queueName,
      jobs,
      folders: folder,
      servers: server,
      contextSize,
      jobSeconds,
      graceSeconds,
      stalledSeconds,
    },
    serverKey: process.env.LONGVLM_SERVER_KEY || undefined,
    limits: {
      ...limitsOf(flags),
      privateAddresses: flags.allowPrivate === true,
      hosts: flags.allowHost,
      sandbox: flags.sandbox,
    },
    maxFrames: flags.framesLimit,
    lanes: { decode: flags.decodings, encode: flags.encodings, answer: flags.answers },
    ...(flags.log !== false && { onLog: (line: string) => process.stderr.write(`${line}\n`) }),
  };
}
