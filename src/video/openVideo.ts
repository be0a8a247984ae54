// Opens videos from any source: paths, URLs, bytes, streams, lists of pictures.
import { basename } from 'node:path';
import { linkedController } from '../base/abort.js';
import { withCallbacks } from '../base/callbacks.js';
import { LongVLMError } from '../base/errors.js';
import { hashFile, hashOf } from '../base/hash.js';
import type { OnProgress } from '../base/progress.js';
import { checkFunction, checkObject, checkSignal, checkString } from '../base/validate.js';
import { FetchBudget } from './fetchBudget.js';
import { checkReadOptions, type FrameSegment, type ReadSegmentsOptions, readSegments } from './frames.js';
import { checkLimits, type VideoLimits } from './limits.js';
import { probePictures } from './pictureFrames.js';
import { checkFile, probeFile, type VideoInfo } from './probe.js';
import { checkInput, type StoredFile, type VideoInput } from './videoInput.js';

/** Options of {@link openVideo}. */
export type OpenVideoOptions = {
  /** Path of the ffmpeg program. Defaults to the environment's `FFMPEG_PATH`, the package ffmpeg-static, then `PATH`. */
  ffmpeg?: string;
  /** Aborts the fetch: the promise rejects with `signal.reason`, and temporary files are removed. */
  signal?: AbortSignal | null;
  /** Called while a URL, bytes or a stream are read, with the stage `fetch` and bytes as the unit. */
  onProgress?: OnProgress;
  /** Limits of what is fetched and decoded, and whether playlists are read. */
  limits?: VideoLimits;
};

/** An opened video. Dispose it to remove the fetched file from disk. */
export interface Video {
  /** The base name of the path, URL (without the query) or `File`; otherwise `video`, or `pictures` for a list. */
  readonly name: string;
  /** Paths of the user's files that it is read from; none for what was fetched. @internal */
  readonly paths: readonly string[];
  /** The result of `probeVideo`, computed once. @throws as `probeVideo` */
  probe(signal?: AbortSignal | null): Promise<VideoInfo>;
  /**
   * SHA-256 of the content as 64 hexadecimal digits, independent of the kind of input; for a list of pictures, of their contents
   * and times.
   *
   * @throws LongVLMError `ERR_LONGVLM_FILE`.
   */
  contentHash(signal?: AbortSignal | null): Promise<string>;
  /** Calls `readSegments` for this video, with its ffmpeg. @throws as `readSegments` */
  segments(options: ReadSegmentsOptions): AsyncGenerator<FrameSegment, void, undefined>;
  /** Aborts running reads with `ERR_LONGVLM_DISPOSED`, and removes fetched files. Safe to call twice. */
  dispose(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Opens a video of any kind. URLs are fetched at once, by Node and within limits. URLs, bytes and streams are written to a file
 * in a private folder under the system's temporary folder. The file is removed when the video is disposed, and when Node exits.
 * A path is not accessed yet.
 *
 * URLs of a private network are fetched like any other: a server that accepts URLs from untrusted users must reject those itself.
 *
 * @throws TypeError, RangeError for wrong arguments.
 * @throws LongVLMError `ERR_LONGVLM_FETCH` when the video cannot be fetched, or a limit is exceeded; `ERR_LONGVLM_FILE` when the
 * temporary file cannot be written. Temporary files are removed then.
 * @example
 * const video = await openVideo('https://example.org/talk.mp4', { limits: { maxBytes: 1e9 } });
 * try {
 *   const { durationSeconds } = await video.probe();
 * } finally {
 *   await video.dispose();
 * }
 */
export function openVideo(input: VideoInput, options: OpenVideoOptions = {}): Promise<Video> {
  return withCallbacks(
    options,
    ['onProgress'],
    (guarded) => open(input, guarded),
    (video) => video.dispose(),
  );
}

async function open(input: VideoInput, options: OpenVideoOptions): Promise<Video> {
  const { ffmpeg, onProgress, limits, ...given } = checkObject('options', options);
  if (ffmpeg !== undefined) checkString('ffmpeg', ffmpeg);
  const signal = checkSignal(given.signal);
  if (onProgress !== undefined) checkFunction('onProgress', onProgress);
  const allLimits = checkLimits(limits);
  const { store, timestamps } = checkInput(input, allLimits);
  signal?.throwIfAborted();

  const budget = new FetchBudget(allLimits, signal);
  const stored: StoredFile[] = [];
  try {
    for (const each of store) stored.push(await each(budget, onProgress));
  } catch (error) {
    await removeAll(stored);
    throw error;
  } finally {
    budget.dispose();
  }
  return new OpenedVideo(stored, timestamps, ffmpeg);
}

class OpenedVideo implements Video {
  readonly name: string;
  readonly paths: readonly string[];
  readonly #stored: readonly StoredFile[];
  /** Presentation times of a list's pictures. */
  readonly #timestamps: readonly number[] | undefined;
  readonly #ffmpeg: string | undefined;
  readonly #disposed = new AbortController();
  #info: VideoInfo | undefined;
  #contentHash: string | undefined;
  #disposal: Promise<void> | undefined;

  constructor(stored: readonly StoredFile[], timestamps: readonly number[] | undefined, ffmpeg: string | undefined) {
    this.name = timestamps ? 'pictures' : basename(stored[0]!.file.name);
    this.paths = stored.flatMap(({ file, temporary }) => (temporary ? [] : [file.path]));
    this.#stored = stored;
    this.#timestamps = timestamps;
    this.#ffmpeg = ffmpeg;
  }

  async probe(signal?: AbortSignal | null): Promise<VideoInfo> {
    const { controller, unlink } = linkedController(this.#disposed.signal, checkSignal(signal));
    const options = { ffmpeg: this.#ffmpeg, signal: controller.signal };
    const files = this.#stored.map(({ file }) => file);
    try {
      controller.signal.throwIfAborted();
      this.#info ??= this.#timestamps
        ? await probePictures(files, this.#timestamps, options)
        : await probeFile(files[0]!, options);
      return this.#info;
    } finally {
      unlink();
    }
  }

  async contentHash(signal?: AbortSignal | null): Promise<string> {
    const { controller, unlink } = linkedController(this.#disposed.signal, checkSignal(signal));
    try {
      controller.signal.throwIfAborted();
      this.#contentHash ??= await this.#hash(controller.signal);
      return this.#contentHash;
    } finally {
      unlink();
    }
  }

  async #hash(signal: AbortSignal): Promise<string> {
    const hashes: string[] = [];
    for (const { file, temporary } of this.#stored) {
      // A file that is missing is told in the same words as by probe().
      if (!temporary) await checkFile(file, this.#timestamps ? 'picture' : 'video');
      hashes.push(temporary?.contentHash ?? (await hashFile(file.path, signal)));
    }
    return this.#timestamps ? hashOf({ pictures: hashes, timestamps: this.#timestamps }) : hashes[0]!;
  }

  segments(options: ReadSegmentsOptions): AsyncGenerator<FrameSegment, void, undefined> {
    return this.#segments(checkReadOptions(options));
  }

  async *#segments(options: ReadSegmentsOptions): AsyncGenerator<FrameSegment, void, undefined> {
    const { signal } = options;
    const info = await this.probe(signal);
    const { controller, unlink } = linkedController(this.#disposed.signal, signal);
    try {
      yield* readSegments(info, { ...options, signal: controller.signal });
    } finally {
      unlink();
    }
  }

  dispose(): Promise<void> {
    this.#disposed.abort(
      new LongVLMError('ERR_LONGVLM_DISPOSED', `The video '${this.name}' was disposed. Open it again.`),
    );
    this.#disposal ??= removeAll(this.#stored);
    return this.#disposal;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

async function removeAll(stored: readonly StoredFile[]): Promise<void> {
  await Promise.all(stored.map(({ temporary }) => temporary?.dispose()));
}
