// A video, wherever it comes from.
import { basename } from 'node:path';
import { linkedController } from '../base/abort.js';
import { LongVLMError } from '../base/errors.js';
import { hashFile, hashOf } from '../base/hash.js';
import type { OnProgress } from '../base/progress.js';
import { checkFunction, checkObject, checkSignal, checkString } from '../base/validate.js';
import { checkLimits, FetchBudget, type FetchLimits } from './fetchLimits.js';
import { checkReadOptions, type FrameSegment, type ReadSegmentsOptions, readSegments } from './frames.js';
import { probePictures } from './pictureFrames.js';
import { probeFile, type VideoInfo } from './probe.js';
import { checkInput, type StoredFile, type VideoInput } from './videoInput.js';

/** Options of {@link openVideo}. */
export type OpenVideoOptions = {
  /** Path of the ffmpeg program. Defaults to the environment's `FFMPEG_PATH`, the package ffmpeg-static, then `PATH`. */
  ffmpeg?: string;
  /** Ends the fetching: the promise rejects with `signal.reason`, and nothing is left on disk. */
  signal?: AbortSignal;
  /** Called while a URL, bytes or a stream are taken, with the stage `fetch` and bytes as the unit. */
  onProgress?: OnProgress;
  /** How much is taken at most. */
  limits?: FetchLimits;
};

/** An opened video. Dispose it: what was fetched is on disk until then. */
export interface Video {
  /** The base name of its path or URL, without the query, or of a `File`; else `video`, or `pictures` for a list. */
  readonly name: string;
  /** What `probeVideo` finds out, found out once. @throws what `probeVideo` throws */
  probe(signal?: AbortSignal): Promise<VideoInfo>;
  /**
   * SHA-256 of the content as 64 hexadecimal digits, the same however it was given; for a list of pictures, of their
   * contents and times.
   *
   * @throws LongVLMError `ERR_LONGVLM_FILE`.
   */
  contentHash(signal?: AbortSignal): Promise<string>;
  /** What `readSegments` gives, with this video's ffmpeg. @throws what `readSegments` throws */
  segments(options: ReadSegmentsOptions): AsyncGenerator<FrameSegment, void, undefined>;
  /** Ends what is being read, with `ERR_LONGVLM_DISPOSED`, and removes what was fetched. Again does nothing. */
  dispose(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Opens a video of any kind. URLs are fetched at once, by Node and within limits, and bytes and streams are written
 * out: to a file in a folder of this process's own under the system's folder for temporary files. It is removed when
 * the video is disposed, and when Node exits. A path is not looked at yet.
 *
 * Addresses of a private network are fetched like any other: a server that takes URLs from strangers has to refuse
 * them itself.
 *
 * @throws TypeError, RangeError for wrong arguments.
 * @throws LongVLMError `ERR_LONGVLM_FETCH` when it cannot be fetched, or a limit is passed; `ERR_LONGVLM_FILE` when it
 * cannot be written. Nothing is left on disk then.
 * @example
 * const video = await openVideo('https://example.org/talk.mp4', { limits: { maxBytes: 1e9 } });
 * try {
 *   const { durationSeconds } = await video.probe();
 * } finally {
 *   await video.dispose();
 * }
 */
export async function openVideo(input: VideoInput, options: OpenVideoOptions = {}): Promise<Video> {
  const { ffmpeg, signal, onProgress, limits } = checkObject('options', options);
  if (ffmpeg !== undefined) checkString('ffmpeg', ffmpeg);
  checkSignal(signal);
  if (onProgress !== undefined) checkFunction('onProgress', onProgress);
  const allLimits = checkLimits(limits);
  const { store, timestamps } = checkInput(input);
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
  readonly #stored: readonly StoredFile[];
  /** When each picture of a list is shown. */
  readonly #timestamps: readonly number[] | undefined;
  readonly #ffmpeg: string | undefined;
  readonly #disposed = new AbortController();
  #info: VideoInfo | undefined;
  #contentHash: string | undefined;
  #disposal: Promise<void> | undefined;

  constructor(stored: readonly StoredFile[], timestamps: readonly number[] | undefined, ffmpeg: string | undefined) {
    this.name = timestamps ? 'pictures' : basename(stored[0]!.file.name);
    this.#stored = stored;
    this.#timestamps = timestamps;
    this.#ffmpeg = ffmpeg;
  }

  async probe(signal?: AbortSignal): Promise<VideoInfo> {
    checkSignal(signal);
    const { controller, unlink } = linkedController(this.#disposed.signal, signal);
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

  async contentHash(signal?: AbortSignal): Promise<string> {
    checkSignal(signal);
    const { controller, unlink } = linkedController(this.#disposed.signal, signal);
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
    for (const { file, temporary } of this.#stored)
      hashes.push(temporary?.contentHash ?? (await hashFile(file.path, signal)));
    return this.#timestamps ? hashOf({ pictures: hashes, timestamps: this.#timestamps }) : hashes[0]!;
  }

  segments(options: ReadSegmentsOptions): AsyncGenerator<FrameSegment, void, undefined> {
    checkReadOptions(options);
    return this.#segments(options);
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
