// The kinds of video input, and how they are stored as files.
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { types } from 'node:util';
import type { OnProgress } from '../base/progress.js';
import { checkNumber, checkString, isArray, isCallable, isReadable, wrongType, wrongValue } from '../base/validate.js';
import { type ByteSource, memorySource, nodeSource, readWithin, webSource } from './byteSource.js';
import type { FetchBudget } from './fetchBudget.js';
import { openUrl, publicName } from './fetchUrl.js';
import { type InputFile, localFile } from './inputFile.js';
import type { SettledLimits } from './limits.js';
import { type TemporaryFile, writeTemporaryFile } from './temporaryFile.js';

/** One picture of a list: a path, a URL of `http:`, `https:` or `file:`, or the bytes of a picture file. */
export type PictureInput = string | URL | Uint8Array | ArrayBuffer | Blob;

/**
 * A video: any {@link PictureInput} that holds a video or picture, a stream of a file's bytes, or a list of pictures in order
 * with their times. A string that begins with `http://`, `https://` or `file://` is a URL, any other string is a path.
 */
export type VideoInput =
  | PictureInput
  | NodeJS.ReadableStream
  | ReadableStream<Uint8Array>
  | {
      readonly frames: readonly PictureInput[];
      /** Presentation times of the pictures in seconds, at least 0 and ascending. Defaults to one picture per second, from 0. */
      readonly timestamps?: readonly number[];
    };

type PictureList = Extract<VideoInput, { frames: unknown }>;

/** A video or picture that is stored as a file. */
export type StoredFile = {
  readonly file: InputFile;
  /** The same file if it is temporary. */
  readonly temporary?: TemporaryFile;
};

/** Stores an input as a temporary file, or returns the local file that it names. */
export type StoreInput = (budget: FetchBudget, onProgress: OnProgress | undefined) => Promise<StoredFile>;

const PROGRESS_BYTES = 1 << 20;

/**
 * Checks a video input before anything is read.
 *
 * @returns Functions that store the video, or each picture of a list; for a list also the times of the pictures.
 * @throws TypeError, RangeError
 */
export function checkInput(input: VideoInput, limits: SettledLimits): { store: StoreInput[]; timestamps?: number[] } {
  if (typeof input !== 'string' && !isReadable(input))
    wrongType('video', 'path, URL, Uint8Array, ArrayBuffer, Blob, stream or { frames }', input);
  if (typeof input === 'string' || !('frames' in input))
    return { store: [storeInput(input, 'video', 'video', limits)] };
  const { frames, timestamps } = input;
  if (!isArray(frames)) wrongType('video.frames', 'array of pictures', frames);
  if (frames.length === 0) wrongValue('video.frames', 'array of at least one picture', frames);
  const store = Array.from(frames, (picture: PictureInput, i) => {
    if (!isPicture(picture)) wrongType(`video.frames[${i}]`, 'path, URL, bytes or Blob', picture);
    return storeInput(picture, `video.frames[${i}]`, `picture ${i + 1}`, limits);
  });
  return {
    store,
    timestamps: timestamps === undefined ? store.map((_, i) => i) : checkTimes(timestamps, frames.length),
  };
}

function checkTimes(times: PictureList['timestamps'], pictures: number): number[] {
  if (!isArray(times)) wrongType('video.timestamps', 'array of seconds', times);
  if (times.length !== pictures)
    throw new RangeError(
      `Expected ${pictures} numbers, one a picture, for video.timestamps but received ${times.length}`,
    );
  let last = Number.NEGATIVE_INFINITY;
  return Array.from(times, (time, i) => {
    checkNumber(`video.timestamps[${i}]`, time, 0, Number.MAX_SAFE_INTEGER);
    if (time <= last) wrongValue(`video.timestamps[${i}]`, `number above ${last}`, time);
    last = time;
    return time;
  });
}

/** Whether a video, or a picture of a list, comes from a server, at its pace. */
export function isRemote(input: VideoInput): boolean {
  if (typeof input === 'string') return /^https?:\/\//i.test(input);
  if (isOfClass(input, URL, 'href')) return /^https?:$/.test(input.protocol);
  return isReadable(input) && 'frames' in input && isArray(input.frames) && Array.from(input.frames).some(isRemote);
}

function isPicture(value: unknown): value is PictureInput {
  return (
    typeof value === 'string' ||
    types.isUint8Array(value) ||
    types.isArrayBuffer(value) ||
    isOfClass(value, URL, 'href') ||
    isOfClass(value, Blob, 'size')
  );
}

/**
 * Whether `value` is an instance of a class, of this realm or of another, as under Jest.
 * @param member a property that throws where something only has the class's prototype
 */
function isOfClass<T extends object>(value: unknown, Class: new (...args: never[]) => T, member: keyof T): value is T {
  if (typeof value !== 'object' || value === null || types.isProxy(value)) return false;
  const { name } = Class;
  try {
    const isNamed = Object.prototype.toString.call(value) === `[object ${name}]` && value.constructor?.name === name;
    return (value instanceof Class || isNamed) && (value as T)[member] !== undefined;
  } catch {
    return false;
  }
}

/**
 * @param argument Name of the argument in error messages.
 * @param unnamed Name of an input that has none.
 */
function storeInput(
  input: Exclude<VideoInput, PictureList>,
  argument: string,
  unnamed: string,
  limits: SettledLimits,
): StoreInput {
  if (typeof input === 'string') {
    checkString(argument, input);
    // A single letter before the colon is a Windows drive.
    if (!/^([a-z][a-z0-9+.-]+:\/\/|data:|blob:)/i.test(input)) return async () => ({ file: localFile(input, limits) });
    // The string may hold a password.
    if (!URL.canParse(input)) throw new RangeError(`Expected valid URL for ${argument} but received another one`);
    return storeUrl(new URL(input), argument, unnamed, limits);
  }
  if (isOfClass(input, URL, 'href')) return storeUrl(input, argument, unnamed, limits);
  const from = (open: () => ByteSource, name = unnamed): StoreInput => {
    return async (budget, onProgress) => {
      budget.begin(name);
      return store(open(), name, budget, onProgress);
    };
  };
  if (types.isUint8Array(input)) return from(() => memorySource(input));
  if (types.isArrayBuffer(input)) return from(() => memorySource(new Uint8Array(input)));
  if (isOfClass(input, Blob, 'size')) {
    const name = 'name' in input && typeof input.name === 'string' ? nameOf(input.name, unnamed) : unnamed;
    return from(() => webSource(input.stream(), input.size), name);
  }
  if (isOfClass(input, ReadableStream, 'locked')) {
    if (input.locked)
      throw new TypeError(`Expected stream that nothing else reads for ${argument} but received a locked one`);
    return from(() => webSource(input));
  }
  // What only has its prototype is none.
  const isWeb = Object.prototype.toString.call(input) === '[object ReadableStream]';
  if (!isWeb && isCallable((input as Partial<NodeJS.ReadableStream>)[Symbol.asyncIterator]))
    return from(() => nodeSource(input as NodeJS.ReadableStream));
  return wrongType(argument, 'path, URL, Uint8Array, ArrayBuffer, Blob, stream or { frames }', input);
}

function storeUrl(url: URL, argument: string, unnamed: string, limits: SettledLimits): StoreInput {
  const { protocol, pathname } = url;
  if (protocol === 'file:') {
    const path = pathOf(url, argument);
    return async () => ({ file: localFile(path, limits) });
  }
  // Only the protocol is reported: the rest of the URL may contain a password.
  if (protocol !== 'http:' && protocol !== 'https:')
    wrongValue(argument, 'path, or URL of http:, https: or file:', protocol);
  return async (budget, onProgress) => {
    budget.begin(publicName(url));
    return store(await openUrl(url, budget), nameOf(decoded(pathname), unnamed), budget, onProgress);
  };
}

function pathOf(url: URL, argument: string): string {
  try {
    return fileURLToPath(url);
  } catch {
    throw new RangeError(
      `Expected file: URL of a file of this machine, with a name in UTF-8, for ${argument} but received another one`,
    );
  }
}

function decoded(pathname: string): string {
  try {
    return decodeURIComponent(pathname);
  } catch {
    return pathname;
  }
}

/** The last component of an untrusted path, made safe to display. */
function nameOf(path: string, unnamed: string): string {
  const last = path.split(/[/\\]/).filter(Boolean).at(-1) ?? '';
  return last.replace(/\p{C}/gu, '').slice(0, 255) || unnamed;
}

/** Writes `source` to a temporary file. */
async function store(
  source: ByteSource,
  name: string,
  budget: FetchBudget,
  onProgress: OnProgress | undefined,
): Promise<StoredFile> {
  const ending = /^\.[a-z0-9]{1,5}$/i.exec(extname(name))?.[0] ?? '';
  let reported = -1;
  const report = (done: number, ended: boolean) => {
    if (ended ? done === reported : reported >= 0 && done - reported < PROGRESS_BYTES) return;
    reported = done;
    onProgress?.({ stage: 'fetch', done, total: source.total, unit: 'bytes', name });
  };
  try {
    report(0, false);
    const temporary = await writeTemporaryFile(ending, readWithin(source, budget, report));
    return { file: { path: temporary.path, given: name, name, limits: budget.limits, lists: false }, temporary };
  } catch (error) {
    source.cancel();
    throw error;
  }
}
