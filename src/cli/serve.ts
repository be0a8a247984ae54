import { readFile } from 'node:fs/promises';
import { Command, Option } from 'commander';
import { fileError } from '../base/fileError.js';
import { isLoopback } from '../service/loopback.js';
import { readSettings, type ServiceOptions } from '../service/settings.js';
import type { Sandbox } from '../video/limits.js';
import {
  addLanguageOptions,
  addVisionOptions,
  collected,
  decimal,
  integer,
  limitsOf,
  type ModelFlags,
} from './options.js';
import { addQueueOptions, openQueue, type QueueFlags } from './queueOptions.js';
import { run } from './run.js';
import { sandboxOption, tellSandbox } from './sandboxOption.js';
import { secondSignal } from './secondSignal.js';
import { withLongVLM } from './withLongVLM.js';

type Flags = ModelFlags &
  QueueFlags & {
    host?: string;
    port: number;
    apiKeyFile?: string;
    folder?: string[];
    allowHost?: string[];
    allowPrivate?: boolean;
    sandbox: Sandbox;
    contextSize?: number;
    contextMemory?: number;
    framesLimit: number;
    requests: number;
    fetches: number;
    decodings: number;
    encodings: number;
    answers: number;
    waiting: number;
    requestSeconds: number;
    graceSeconds: number;
    serverUrl?: string;
    page?: boolean;
    log?: boolean;
  };

const number = (flags: string, description: string, value: number, min = 1) =>
  new Option(flags, description).argParser(integer(min)).default(value);

/** `longvlm serve` */
export function serveCommand(): Command {
  const command = new Command('serve')
    .description("answer over HTTP, in OpenAI's format: POST /v1/chat/completions with a video_url")
    .option('--host <address>', 'where to listen; other machines reach it at 0.0.0.0 or :: (default: 127.0.0.1)')
    .addOption(number('--port <n>', 'the port; 0 for one that is free', 8000, 0))
    .option(
      '--api-key-file <file>',
      'keys of which each request needs one, a line each (default: those in $LONGVLM_API_KEYS, with commas between them)',
    )
    .addOption(
      new Option('--folder <dir>', 'a folder whose files file: URLs may name; can be given again').argParser(collected),
    )
    .addOption(
      new Option(
        '--allow-host <name>',
        'a host that URLs may lead to, or *.NAME for those below; can be given again (default: all)',
      ).argParser(collected),
    )
    .option('--allow-private', 'fetch URLs of this machine and of private networks, too')
    .addOption(sandboxOption())
    .addOption(number('--requests <n>', 'requests that are worked on at a time', 16))
    .addOption(number('--fetches <n>', 'of these, videos that are fetched from URLs at a time', 8))
    .addOption(number('--decodings <n>', 'of these, videos that are read at a time', 4))
    .addOption(number('--encodings <n>', 'of these, videos that are encoded at a time', 2))
    .addOption(number('--answers <n>', 'of these, answers that are written at a time', 2))
    .addOption(number('--waiting <n>', 'requests that may wait; more are refused (429)', 64, 0))
    .addOption(number('--frames-limit <n>', 'most frames that a request may have sampled', 1024))
    .addOption(
      new Option('--context-size <n>', "largest context, in tokens (default: the model's)").argParser(integer(16)),
    )
    .addOption(
      new Option(
        '--context-memory <mib>',
        'memory for contexts that wait for the next turn of their conversations; 0 keeps none (default: an eighth of all)',
      ).argParser(integer(0)),
    )
    .addOption(
      new Option('--request-seconds <s>', 'longest time for a request').argParser(decimal(0, 1e6)).default(3600),
    )
    .addOption(
      new Option('--grace-seconds <s>', 'how long answers may go on after SIGTERM or Ctrl-C; a second one ends them')
        .argParser(decimal(0, 1e6))
        .default(10),
    )
    .option('--server-url <url>', 'with --queue: where workers fetch uploads (default: where it listens)')
    .option('--no-page', 'serve no page at /, the API alone')
    .option('--no-log', 'write no line for each request to standard error')
    .addHelpText(
      'after',
      `
Examples:
  longvlm serve
  longvlm serve --model llava-1.5-7b --folder ~/Videos --port 9000
  curl http://127.0.0.1:8000/v1/chat/completions -H 'content-type: application/json' -d '{"messages": [{"role": "user",
    "content": [{"type": "video_url", "video_url": {"url": "https://example.org/talk.mp4"}}, {"type": "text", "text": "What is shown?"}]}]}'

Open http://127.0.0.1:8000 in a browser to ask from a page.
OpenAI's clients work with the base URL http://127.0.0.1:8000/v1. /openapi.json describes all of it.`,
    );
  addQueueOptions(command, 'have requests answered by the workers (longvlm worker) of');
  return addLanguageOptions(addVisionOptions(command)).action((flags: Flags) => run((signal) => serve(flags, signal)));
}

async function serve(flags: Flags, signal: AbortSignal): Promise<void> {
  const options = await serviceOptions(flags);
  const { host, apiKeys } = readSettings(options);
  if (!isLoopback(host) && apiKeys.length === 0)
    process.stderr.write(`warning: whoever reaches ${host} can use it: give keys, with --api-key-file\n`);
  await tellSandbox(flags);
  await withLongVLM(flags, signal, async (vlm, progress) => {
    // Loaded here, as no other command needs it.
    const { startService } = await import('../service/service.js');
    const queue = await openQueue(flags, vlm, signal);
    try {
      const answerElsewhere = queue && (await import('../queue/handOver.js')).answerByQueue(queue, flags.serverUrl);
      const service = await startService(vlm, { ...options, answerElsewhere });
      progress.stop();
      process.stderr.write(`longvlm: listening at ${service.url}\n`);
      if (!signal.aborted)
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      await secondSignal((again) => service.close(again));
    } finally {
      await queue?.close();
    }
  });
}

async function serviceOptions(flags: Flags): Promise<ServiceOptions> {
  const { host, port, folder, contextSize, requestSeconds, graceSeconds } = flags;
  const guards = { hosts: flags.allowHost, sandbox: flags.sandbox };
  return {
    ...{ host, port, folders: folder, contextSize, requestSeconds, graceSeconds },
    apiKeys: await keysOf(flags),
    limits: { ...limitsOf(flags), ...guards, privateAddresses: flags.allowPrivate === true },
    maxFrames: flags.framesLimit,
    ...(flags.contextMemory !== undefined && { contextMemory: flags.contextMemory * 2 ** 20 }),
    lanes: {
      ...{ request: flags.requests, fetch: flags.fetches, decode: flags.decodings },
      ...{ encode: flags.encodings, answer: flags.answers },
    },
    maxWaiting: flags.waiting,
    page: flags.page,
    ...(flags.log !== false && { onLog: (line: string) => process.stderr.write(`${line}\n`) }),
  };
}

/** The keys; none on the command line, which other users of the machine see. */
async function keysOf({ apiKeyFile }: Flags): Promise<string[]> {
  const text =
    apiKeyFile === undefined
      ? (process.env.LONGVLM_API_KEYS ?? '').replaceAll(',', '\n')
      : await readFile(apiKeyFile, 'utf8').catch((error: unknown) => Promise.reject(fileError(apiKeyFile, error)));
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}
