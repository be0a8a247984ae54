// Features of videos on disk, so that a second question about a video starts without decoding or encoding it.
import { mkdir, readdir, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { LongVLMError } from '../base/errors.js';
import { fileError } from '../base/fileError.js';
import { hashFile, hashOf } from '../base/hash.js';
import { wrongType } from '../base/validate.js';
import { version } from '../base/version.js';
import { abandonedMs, removeHalfWritten } from '../base/wholeFile.js';
import { makeCacheFolder } from '../cache/cacheFolder.js';
import { type Sampling, VideoFeatures } from './videoFeatures.js';

/** A video in the cache. */
export type CachedVideo = {
  /** Path of its features file, which {@link VideoFeatures.load} reads. */
  readonly file: string;
  readonly bytes: number;
  readonly lastUsed: Date;
};

const ending = '.safetensors';
/** Size at which the least recently used videos go: some 800 of them at the paper's settings. */
const defaultMaxBytes = 1 << 30;

/** A folder of features, each under a hash of all that it was made from. */
export class FeaturesCache {
  readonly #folder: string;
  readonly #maxBytes: number;

  private constructor(folder: string, maxBytes: number) {
    this.#folder = folder;
    this.#maxBytes = maxBytes;
  }

  /**
   * @param maxBytes size that the folder is brought back to by removing what was not used for the longest time
   * @throws LongVLMError `ERR_LONGVLM_FILE` when there is no such folder and none can be made
   */
  static async open(folder: string, maxBytes = Number.POSITIVE_INFINITY): Promise<FeaturesCache> {
    await mkdir(folder, { recursive: true }).catch((error: unknown) => {
      throw fileError(folder, error);
    });
    return new FeaturesCache(folder, maxBytes);
  }

  /** The user's own: in `$LONGVLM_CACHE`, or the platform's cache folder; of `$LONGVLM_CACHE_LIMIT` bytes, or 1 GiB. */
  static async openDefault(): Promise<FeaturesCache> {
    const limit = Number(process.env.LONGVLM_CACHE_LIMIT || defaultMaxBytes);
    if (!(limit >= 0))
      throw new RangeError(
        `Expected a number of bytes for LONGVLM_CACHE_LIMIT but received ${process.env.LONGVLM_CACHE_LIMIT}`,
      );
    return new FeaturesCache(await makeCacheFolder('videos'), limit);
  }

  /**
   * A video's features: those that are kept for this content, tower, sampling and release, else what `encode` gives, which is
   * kept. Where that cannot be written, it is given all the same.
   *
   * @throws what `encode` throws; LongVLMError `ERR_LONGVLM_FILE` when the video cannot be read; `signal.reason`
   */
  async featuresOf(
    video: string,
    tower: string,
    sampling: Sampling,
    encode: () => Promise<VideoFeatures>,
    signal?: AbortSignal,
  ): Promise<VideoFeatures> {
    const key = hashOf({ content: await hashFile(video, signal), tower, sampling, version });
    const file = path.join(this.#folder, key + ending);
    const kept = await load(file, tower, sampling);
    // The same video under another name keeps the name that it was asked about with.
    if (kept) return new VideoFeatures({ ...kept, source: { ...kept.source, name: path.basename(video) } });
    const features = await encode();
    await features.save(file).then(
      () => this.#makeRoom(file),
      () => {},
    );
    return features;
  }

  /** What is in it, last used first. */
  async list(): Promise<CachedVideo[]> {
    const videos: CachedVideo[] = [];
    for (const name of await this.#names()) {
      if (!name.endsWith(ending)) continue;
      const file = path.join(this.#folder, name);
      // Another process may remove it in between.
      const found = await stat(file).catch(() => undefined);
      if (found?.isFile()) videos.push({ file, bytes: found.size, lastUsed: found.mtime });
    }
    return videos.sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime());
  }

  /** Removes everything. @returns what was removed */
  async clear(): Promise<CachedVideo[]> {
    const videos = await this.list();
    for (const { file } of videos) await rm(file, { force: true });
    await removeHalfWritten(this.#folder);
    return videos;
  }

  async #makeRoom(kept: string): Promise<void> {
    let bytes = 0;
    for (const video of await this.list()) {
      bytes += video.bytes;
      if (bytes > this.#maxBytes && video.file !== kept) await rm(video.file, { force: true }).catch(() => {});
    }
    await removeHalfWritten(this.#folder, Date.now() - abandonedMs);
  }

  async #names(): Promise<string[]> {
    return readdir(this.#folder).catch((error: unknown) => {
      throw fileError(this.#folder, error);
    });
  }
}

/** Nothing for a file that is missing, damaged, or of another tower or sampling than its name says: it is made again. */
async function load(file: string, tower: string, sampling: Sampling): Promise<VideoFeatures | undefined> {
  try {
    const features = await VideoFeatures.load(file, { tower });
    if (hashOf(features.sampling) !== hashOf(sampling)) return undefined;
    const now = new Date();
    await utimes(file, now, now).catch(() => {});
    return features;
  } catch (error) {
    if (error instanceof LongVLMError) return undefined;
    throw error;
  }
}

/** @throws TypeError for anything but a boolean or a {@link FeaturesCache} */
export function checkCache(cache: unknown): asserts cache is boolean | FeaturesCache {
  if (typeof cache !== 'boolean' && !(cache instanceof FeaturesCache))
    wrongType('cache', 'boolean or FeaturesCache', cache);
}
