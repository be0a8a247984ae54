// Limits for videos of strangers, which no recording reaches.
import { LongVLMError } from '../base/errors.js';
import { checkBoolean, checkInteger, checkNumber, checkObject, checkOneOf, checkStrings } from '../base/validate.js';

/** What ffmpeg runs in: see {@link VideoLimits.sandbox}. */
export type Sandbox = 'none' | 'auto' | 'bwrap';
export const sandboxes = ['none', 'auto', 'bwrap'] as const satisfies readonly Sandbox[];

/** Limits for a video or picture. Above one of them the error names it. */
export type VideoLimits = {
  /** Maximum size of what is fetched in bytes; for a list of pictures, of all together. Defaults to 8 GiB. */
  readonly maxBytes?: number;
  /** Maximum time from the start of fetching to the last byte, in seconds. Defaults to `3600`. */
  readonly timeoutSeconds?: number;
  /** Maximum time without any data while fetching, in seconds; for a URL at most 300, Node's own timeout. Defaults to `30`. */
  readonly idleSeconds?: number;
  /** Maximum number of redirects for one URL. Defaults to `5`. */
  readonly maxRedirects?: number;
  /**
   * Whether URLs may lead to addresses that are not of the public internet: this machine, private networks, and others that are set
   * apart. `false` also holds for each redirect, and for what a name resolves to when it is connected to. Defaults to `true`.
   */
  readonly privateAddresses?: boolean;
  /** Hosts that URLs may lead to, also by redirects; `*.example.org` for all below one. Defaults to all. */
  readonly hosts?: readonly string[] | undefined;
  /** Maximum size of a picture in pixels, as it is stored and while it is resized. Defaults to 2^27, such as 16384 x 8192. */
  readonly maxPixels?: number;
  /** Maximum number of frames of a video. Defaults to `5_000_000`: 46 hours at 30 frames per second. */
  readonly maxFrames?: number;
  /** Maximum duration of a video, in seconds. Defaults to no limit. */
  readonly maxSeconds?: number;
  /**
   * Maximum time that one run of ffmpeg may keep its reader waiting, in seconds. Defaults to `600`, and a second more for each
   * 50 kB of the file.
   */
  readonly decodeSeconds?: number;
  /**
   * Whether a playlist (HLS, DASH, IMF, or for ffmpeg's concat) at a local path may be read. It can make ffmpeg open and show
   * any file of this machine that the process can read, though nothing of a network. Defaults to `false`.
   */
  readonly lists?: boolean;
  /**
   * What ffmpeg runs in: `none`; `auto` for limits of what it may use, no variables of the environment, and no network and no other
   * files where bubblewrap (`bwrap`) is installed and works; `bwrap` to insist on it. Where lists are read it is `none`. Defaults to
   * `none`.
   */
  readonly sandbox?: Sandbox;
  /** Maximum memory of one ffmpeg in a sandbox, in bytes, on Linux. Defaults to 4 GiB. */
  readonly maxMemory?: number;
};

/** The limits that are numbers. */
export const limitNames = [
  'maxBytes',
  'timeoutSeconds',
  'idleSeconds',
  'maxRedirects',
  'maxPixels',
  'maxFrames',
  'maxSeconds',
  'decodeSeconds',
  'maxMemory',
] as const;

/** {@link VideoLimits} with the defaults. */
export type SettledLimits = Required<Omit<VideoLimits, 'decodeSeconds' | 'hosts'>> &
  Pick<VideoLimits, 'decodeSeconds' | 'hosts'>;

const DECODE_SECONDS = 600;
const BYTES_PER_SECOND = 50_000;

/** Checks `limits` and adds the defaults. @throws TypeError or RangeError for a wrong limit */
export function checkLimits(limits: VideoLimits = {}): SettledLimits {
  const {
    maxBytes = 8 * 2 ** 30,
    timeoutSeconds = 3600,
    idleSeconds = 30,
    maxRedirects = 5,
    maxPixels = 2 ** 27,
    maxFrames = 5_000_000,
    maxSeconds = Number.POSITIVE_INFINITY,
    decodeSeconds,
    lists = false,
    sandbox = 'none',
    maxMemory = 4 * 2 ** 30,
    privateAddresses = true,
    hosts,
  } = checkObject('limits', limits);
  checkInteger('limits.maxBytes', maxBytes, 1);
  checkNumber('limits.timeoutSeconds', timeoutSeconds, 0);
  checkNumber('limits.idleSeconds', idleSeconds, 0);
  checkInteger('limits.maxRedirects', maxRedirects, 0);
  // The largest that ffmpeg takes.
  checkInteger('limits.maxPixels', maxPixels, 1, 2 ** 31 - 1);
  checkInteger('limits.maxFrames', maxFrames, 1);
  if (decodeSeconds !== undefined) checkNumber('limits.decodeSeconds', decodeSeconds, 0);
  checkNumber('limits.maxSeconds', maxSeconds, 0);
  checkBoolean('limits.lists', lists);
  checkOneOf('limits.sandbox', sandbox, sandboxes);
  checkInteger('limits.maxMemory', maxMemory, 2 ** 26);
  checkBoolean('limits.privateAddresses', privateAddresses);
  if (hosts !== undefined) checkStrings('limits.hosts', hosts);
  const fetch = { maxBytes, timeoutSeconds, idleSeconds, maxRedirects, privateAddresses, hosts };
  const decode = { maxPixels, maxFrames, maxSeconds, lists, sandbox, maxMemory };
  return { ...fetch, ...decode, ...(decodeSeconds !== undefined && { decodeSeconds }) };
}

/** How long one ffmpeg may keep its reader waiting for a file of `bytes`, in seconds. */
export function decodeSeconds(limits: SettledLimits, bytes: number): number {
  return limits.decodeSeconds ?? DECODE_SECONDS + bytes / BYTES_PER_SECOND;
}

/** @param cause Follows the name of the file in the message. */
export function limitError(name: string, cause: string, limit: keyof VideoLimits, error?: unknown): LongVLMError {
  return new LongVLMError('ERR_LONGVLM_LIMIT', `'${name}' ${cause}. Give another video, or raise the limit ${limit}.`, {
    cause: error,
  });
}

/** What {@link checkPixels} says of a picture that is small, but large on the way to the wanted shape. */
export const RESIZED = 'is so long and narrow that resizing makes pictures of';

/** @throws LongVLMError `ERR_LONGVLM_LIMIT` when a picture of `width` by `height` is above the limit of pixels */
export function checkPixels(
  { name, limits }: { readonly name: string; readonly limits: SettledLimits },
  { width, height }: { readonly width: number; readonly height: number },
  does = 'has pictures of',
): void {
  if (width * height > limits.maxPixels)
    throw limitError(name, `${does} ${width} x ${height} pixels, above ${limits.maxPixels}`, 'maxPixels');
}
