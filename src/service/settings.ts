// What a service allows.
import { totalmem } from 'node:os';
import { checkBoolean, checkInteger, checkNumber, checkString } from '../base/validate.js';
import type { LaneLimits } from '../jobs/laneScheduler.js';
import type { VideoLimits } from '../video/limits.js';
import type { AnswerElsewhere } from './answering.js';
import type { StoreLimits } from './fileStore.js';

/** Options of {@link startService}. */
export type ServiceOptions = {
  /** Address to listen at. Defaults to `127.0.0.1`, which only this machine reaches. */
  host?: string | undefined;
  /** Defaults to `8000`; `0` for any that is free. */
  port?: number | undefined;
  /** Keys of which each request needs one. Defaults to none, and none is needed. */
  apiKeys?: readonly string[] | undefined;
  /** Folders whose files `file:` URLs may name, links followed. Defaults to none. */
  folders?: readonly string[] | undefined;
  /**
   * Limits of each video. By default URLs lead to public addresses alone (`privateAddresses: false`), to any host, and ffmpeg runs in a
   * sandbox (`sandbox: 'auto'`). Lists are never read.
   */
  limits?: VideoLimits | undefined;
  /** The most frames that are sampled from a video. Defaults to `1024`. */
  maxFrames?: number | undefined;
  /** Largest context of a conversation, in tokens. Defaults to the size that the language model was trained for. */
  contextSize?: number | undefined;
  /**
   * Memory of contexts that wait for the next turn of their conversations, in bytes; the least recently used go first. `0` keeps none:
   * then each turn evaluates its conversation anew. Defaults to an eighth of the machine's memory.
   */
  contextMemory?: number | undefined;
  /** Largest body of a request in JSON, in bytes. Defaults to 64 MiB. */
  maxBodyBytes?: number | undefined;
  /** The longest time that a request may take once its turn has come, in seconds. Defaults to `3600`. */
  requestSeconds?: number | undefined;
  /** The longest time until the body of a request has come, in seconds. Defaults to `60`. */
  bodySeconds?: number | undefined;
  /** How long answers may go on once the service is stopped, in seconds. Defaults to `10`. */
  graceSeconds?: number | undefined;
  /**
   * How many requests are worked on at a time, and of how many of these the video is fetched from a URL, read, and encoded, or the
   * answer written. Default to 16, 8, 4, 2 and 2.
   */
  lanes?: Partial<LaneLimits> | undefined;
  /** How many more requests may wait. Defaults to `64`. */
  maxWaiting?: number | undefined;
  /**
   * How much of uploaded files is kept: 32 GiB, 1000 files, and each for a day by default; and for how long an upload in parts waits for
   * the next one, an hour by default.
   */
  uploads?: Partial<StoreLimits> | undefined;
  /** Whether `/` is a page from which people ask. Defaults to `true`. */
  page?: boolean | undefined;
  /** Called with a line for each request, which has no content of it. */
  onLog?: ((line: string) => void) | undefined;
  /** Answers requests elsewhere, such as by the workers of a queue. Defaults to here. */
  answerElsewhere?: AnswerElsewhere | undefined;
};

/** {@link ServiceOptions} with the defaults. */
export type Settings = {
  readonly host: string;
  readonly port: number;
  readonly apiKeys: readonly string[];
  readonly folders: readonly string[];
  readonly limits: VideoLimits;
  readonly maxFrames: number;
  readonly contextSize: number | undefined;
  readonly contextMemory: number;
  readonly maxBodyBytes: number;
  readonly requestSeconds: number;
  readonly bodySeconds: number;
  readonly graceSeconds: number;
  readonly lanes: LaneLimits;
  readonly maxWaiting: number;
  readonly uploads: StoreLimits;
  readonly page: boolean;
  readonly onLog: (line: string) => void;
};

/** @throws TypeError or RangeError for a wrong option */
export function readSettings(options: ServiceOptions): Settings {
  const { host = '127.0.0.1', port = 8000, apiKeys = [], folders = [], limits = {}, contextSize } = options;
  const { maxFrames = 1024, maxBodyBytes = 64 * 2 ** 20, maxWaiting = 64, onLog = () => {} } = options;
  const { requestSeconds = 3600, bodySeconds = 60, graceSeconds = 10, page = true } = options;
  const { contextMemory = Math.floor(totalmem() / 8) } = options;
  const lanes = { request: 16, fetch: 8, decode: 4, encode: 2, answer: 2, ...options.lanes };
  const uploads = {
    mostBytes: 32 * 2 ** 30,
    mostFiles: 1000,
    keepSeconds: 86_400,
    pendingSeconds: 3600,
    ...options.uploads,
  };
  checkString('host', host);
  checkInteger('port', port, 0, 65535);
  for (const [index, key] of apiKeys.entries()) checkString(`apiKeys[${index}]`, key);
  checkBoolean('page', page);
  checkInteger('maxFrames', maxFrames, 1);
  if (contextSize !== undefined) checkInteger('contextSize', contextSize, 16);
  checkInteger('contextMemory', contextMemory, 0);
  checkInteger('maxBodyBytes', maxBodyBytes, 1, 2 ** 30);
  checkInteger('maxWaiting', maxWaiting, 0);
  checkNumber('requestSeconds', requestSeconds, 0);
  checkNumber('bodySeconds', bodySeconds, 0);
  checkNumber('graceSeconds', graceSeconds, 0);
  for (const [name, value] of Object.entries(uploads)) checkNumber(`uploads.${name}`, value, 0);
  for (const [lane, most] of Object.entries(lanes)) checkInteger(`lanes.${lane}`, most, 1);
  return {
    ...{ host, port, apiKeys, folders, contextSize, contextMemory, maxFrames, maxBodyBytes, maxWaiting, onLog },
    ...{ requestSeconds, bodySeconds, graceSeconds, lanes, uploads, page },
    limits: { privateAddresses: false, sandbox: 'auto', ...limits, lists: false },
  };
}
