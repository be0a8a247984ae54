// Features of videos on disk, so that a second question about a video starts without decoding or encoding it.
import { mkdir } from 'node:fs/promises';
import { LongVLMError } from '../base/errors.js';
import { fileError } from '../base/fileError.js';
import { hashOf } from '../base/hash.js';
import type { OnProgress } from '../base/progress.js';
import { wrongType } from '../base/validate.js';
import { version } from '../base/version.js';
import { makeCacheFolder } from '../cache/cacheFolder.js';
import { type CachedFile, FolderCache } from '../cache/folderCache.js';
import { VideoFeatures } from './videoFeatures.js';

/** A video in the cache; `file` is the path of its features, which {@link VideoFeatures.load} reads. */
export type CachedVideo = CachedFile;

/** Whose features are asked for. */
export type FeaturesRequest = {
  /** Gives the SHA-256 of the video's content. */
  readonly content: (signal?: AbortSignal) => Promise<string>;
  /** What the video is called now: the features' `source.name`, whatever it was called when they were kept. */
  readonly name: string;
  /** Everything else that the features depend on, such as tower and sampling, as plain data. */
  readonly identity: unknown;
  /** Whether features that were found are what they should be; others are made anew. Defaults to yes. */
  readonly matches?: (features: VideoFeatures) => boolean;
};

/** Size at which the least recently used videos are removed: some 800 of them at the paper's settings. */
const defaultMaxBytes = 1 << 30;

/** A folder of features, each under a hash of all that it was made from. */
export class FeaturesCache {
  readonly #files: FolderCache;

  private constructor(folder: string, maxBytes: number) {
    this.#files = new FolderCache(folder, '.safetensors', { maxBytes });
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
   * A video's features: those that are kept for this content, identity and release, else what `encode` gives, which is kept.
   * Where that cannot be written, it is given all the same.
   *
   * Equal requests at the same time encode once, in this process and in others that share the folder; in this process they
   * share the arrays, too. When an encoding fails or its process is killed, one of those that wait for it takes over.
   *
   * @param encode gets a signal that aborts when all who asked have aborted, and where to report progress, which goes to all
   *   of them
   * @throws what `content` and `encode` throw; `signal.reason`
   */
  async featuresOf(
    request: FeaturesRequest,
    encode: (signal: AbortSignal, onProgress: OnProgress) => Promise<VideoFeatures>,
    signal?: AbortSignal,
    onProgress?: OnProgress,
  ): Promise<VideoFeatures> {
    const { name, identity, matches = () => true } = request;
    const key = hashOf({ content: await request.content(signal), identity, version });
    const recipe = {
      read: (file: string) => load(file, matches),
      make: async (file: string, aborted: AbortSignal, report: OnProgress) => {
        const features = await encode(aborted, report);
        await features.save(file).catch(() => {});
        return features;
      },
    };
    const features = await this.#files.getOrMake(key, recipe, { signal, onProgress });
    return new VideoFeatures({ ...features, source: { ...features.source, name } });
  }

  /** What is in it, last used first. @throws LongVLMError `ERR_LONGVLM_FILE` when the folder cannot be read */
  list(): Promise<CachedVideo[]> {
    return this.#files.list();
  }

  /**
   * Removes everything but what is just being made.
   * @returns what was removed
   * @throws LongVLMError `ERR_LONGVLM_FILE` when the folder cannot be read, or a file not removed
   */
  clear(): Promise<CachedVideo[]> {
    return this.#files.clear();
  }
}

/** Undefined for a file that is missing, damaged, or not what its name says. */
async function load(file: string, matches: (features: VideoFeatures) => boolean): Promise<VideoFeatures | undefined> {
  try {
    const features = await VideoFeatures.load(file);
    return matches(features) ? features : undefined;
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
