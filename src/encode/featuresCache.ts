// Caches features of videos on disk, so that a second question about a video needs no decoding or encoding.
import { mkdir } from 'node:fs/promises';
import { LongVLMError } from '../base/errors.js';
import { fileError } from '../base/fileError.js';
import { frozenCopy, optional } from '../base/frozenCopy.js';
import { hashOf } from '../base/hash.js';
import { readOptions } from '../base/options.js';
import { checkPlain } from '../base/plainData.js';
import type { OnProgress } from '../base/progress.js';
import { checkFunction, checkNumber, checkSignal, checkString, wrongType } from '../base/validate.js';
import { version } from '../base/version.js';
import { makeCacheFolder } from '../cache/cacheFolder.js';
import { type CachedFile, FolderCache } from '../cache/folderCache.js';
import { safetensorsMark } from '../cache/mark.js';
import { isS3 } from '../cache/s3Address.js';
import { S3Store } from '../cache/s3Store.js';
import { featuresBeginning, writeFeatures } from './featuresFile.js';
import { VideoFeatures } from './videoFeatures.js';
import { renamedIn } from './withoutFolders.js';

/** A video in the cache; `file` is the path of its features, which {@link VideoFeatures.load} reads. */
export type CachedVideo = CachedFile;

/** Identifies the features that are requested. */
export type FeaturesRequest = {
  /** Returns the SHA-256 of the video's content. */
  readonly content: (signal?: AbortSignal) => Promise<string>;
  /** The video's current name. It becomes the features' `source.name`, even if the cached file has another name. */
  readonly name: string;
  /** Everything else that the features depend on, such as the tower and the sampling, as plain data. */
  readonly identity: unknown;
  /** Checks cached features; if it returns false, the video is encoded again. Defaults to accepting all. */
  readonly matches?: (features: VideoFeatures) => boolean;
  /**
   * Whether the video is still the one that `content` read, asked when it is encoded: otherwise the features are given to this
   * caller alone, and not kept. Defaults to yes.
   */
  readonly isSame?: () => Promise<boolean>;
};

/** Options of {@link FeaturesCache.open} for a store that machines share. */
export type FeaturesStoreOptions = {
  /**
   * URL of an S3-compatible server. Defaults to `$AWS_ENDPOINT_URL_S3`, else `$AWS_ENDPOINT_URL`, else Amazon's in
   * `$AWS_REGION`.
   */
  endpoint?: string | undefined;
  /** Called with a line when the store cannot be used, and when it can be again. */
  onLog?: ((line: string) => void) | undefined;
  /** Ends {@link FeaturesCache.open}. */
  signal?: AbortSignal | null | undefined;
};

/** Features of a video that was exchanged while it was read. */
class Exchanged extends Error {
  constructor(readonly features: VideoFeatures) {
    super('The video was exchanged.');
  }
}

/** Above this size the least recently used videos are evicted. Holds about 800 videos at the paper's settings. */
const defaultMaxBytes = 1 << 30;

const mark = safetensorsMark(featuresBeginning);

/** A folder of features. Each file is named by a hash of everything that the features depend on. */
export class FeaturesCache {
  readonly #files: FolderCache;
  readonly #store: S3Store | undefined;

  /** No proxy, and no object that only has the prototype. @internal */
  static [Symbol.hasInstance](value: unknown): value is FeaturesCache {
    return typeof value === 'object' && value !== null && #files in value;
  }

  private constructor(folder: string, maxBytes: number, store?: S3Store) {
    this.#files = new FolderCache(folder, '.safetensors', { maxBytes, mark });
    this.#store = store;
  }

  /**
   * Opens a folder, or `s3://BUCKET/PREFIX`: a place in an S3-compatible store that machines share, in front of which stands the
   * user's cache. Features are looked for in both, and kept in both; only those of this machine are listed, cleared and evicted. Keys
   * are `$AWS_ACCESS_KEY_ID`, `$AWS_SECRET_ACCESS_KEY` and `$AWS_SESSION_TOKEN`; the package aws4fetch has to be installed. A store
   * that goes away later is done without until it is back.
   *
   * @param folder a new one, an empty one, one that was a cache before, or a place in a store
   * @param maxBytes limit in bytes; above it, the least recently used files are evicted. Defaults to no limit; with a store to that of
   *   {@link openDefault}
   * @throws LongVLMError `ERR_LONGVLM_FILE` when the folder does not exist and cannot be created, or holds other files;
   *   `ERR_LONGVLM_STORE` when the store cannot be used; RangeError for what is no place in a store; `signal.reason`
   */
  static async open(
    folder: string,
    maxBytes: number | undefined = undefined,
    options: FeaturesStoreOptions = {},
  ): Promise<FeaturesCache> {
    checkString('folder', folder);
    if (maxBytes !== undefined) checkNumber('maxBytes', maxBytes, 0);
    const { endpoint, onLog, signal } = readOptions(options, ['endpoint', 'onLog', 'signal']);
    if (endpoint !== undefined) checkString('endpoint', endpoint);
    if (onLog !== undefined) checkFunction('onLog', onLog);
    if (isS3(folder)) {
      const store = await S3Store.open(folder, { endpoint, onLog, signal: checkSignal(signal) });
      return FeaturesCache.#openDefault(maxBytes ?? usualLimit(), store);
    }
    await mkdir(folder, { recursive: true }).catch((error: unknown) => {
      throw fileError(folder, error);
    });
    const cache = new FeaturesCache(folder, maxBytes ?? Number.POSITIVE_INFINITY);
    await cache.#files.checkFolder('Give a folder of its own.');
    return cache;
  }

  /**
   * Opens the user's cache: in `$LONGVLM_CACHE`, else in the platform's cache folder, with a limit of `$LONGVLM_CACHE_LIMIT`
   * bytes, else 1 GiB.
   * @throws RangeError when `LONGVLM_CACHE_LIMIT` is not a number of bytes; LongVLMError `ERR_LONGVLM_FILE` as {@link open}
   */
  static async openDefault(): Promise<FeaturesCache> {
    return FeaturesCache.#openDefault(usualLimit());
  }

  static async #openDefault(maxBytes: number, store?: S3Store): Promise<FeaturesCache> {
    const cache = new FeaturesCache(await makeCacheFolder('videos'), maxBytes, store);
    await cache.#files.checkFolder('Set LONGVLM_CACHE to another folder, or use --no-cache.');
    return cache;
  }

  /**
   * Returns a video's features: from the cache if it has them for this content, identity and release of the package. Otherwise
   * calls `encode` and caches the result. If the file cannot be written, the features are still returned.
   *
   * Concurrent equal requests encode once, in this process and in other processes that share the folder; within this process
   * they also share the arrays. If an encoding fails or its process is killed, one of the waiting requests retries.
   *
   * @param encode called with a signal that aborts when all waiting requests have aborted, and with a progress callback that
   *   reports to all of them
   * @throws what `content` and `encode` throw; `signal.reason`
   */
  async featuresOf(
    request: FeaturesRequest,
    encode: (signal: AbortSignal, onProgress: OnProgress) => Promise<VideoFeatures>,
    given?: AbortSignal,
    onProgress?: OnProgress,
  ): Promise<VideoFeatures> {
    const read = frozenCopy('request', request, {
      name: checkString,
      content: checkFunction,
      identity: checkPlain,
      matches: optional(checkFunction),
      isSame: optional(checkFunction),
    });
    checkFunction('encode', encode);
    const signal = checkSignal(given);
    const { name, identity, matches = () => true, isSame = async () => true } = read;
    const key = hashOf({ content: await read.content(signal), identity, version });
    const recipe = {
      read: (file: string) => load(file, matches),
      make: async (file: string, aborted: AbortSignal, report: OnProgress) => {
        const shared = (await this.#store?.read(objectOf(key), file, aborted)) && (await load(file, matches));
        if (shared) return shared;
        const features = await encode(aborted, report);
        await features.bringDown();
        if (!(await isSame())) throw new Exchanged(features);
        await this.#keep(key, file, features, aborted).catch(() => {});
        return features;
      },
    };
    const features = await this.#files.getOrMake(key, recipe, { signal, onProgress }).catch((error: unknown) => {
      // An error of the work that others began would not come here: this caller's own is run then.
      if (error instanceof Exchanged) return error.features;
      throw error;
    });
    const { source } = features;
    const warnings = source.warnings.map((warning) => renamedIn(warning, source.name, name));
    return new VideoFeatures({ ...features, source: { ...source, name, warnings } });
  }

  async #keep(key: string, file: string, features: VideoFeatures, signal: AbortSignal): Promise<void> {
    await writeFeatures(file, features);
    await this.#store?.write(objectOf(key), file, signal);
  }

  /** The cached videos, most recently used first. @throws LongVLMError `ERR_LONGVLM_FILE` when the folder cannot be read */
  list(): Promise<CachedVideo[]> {
    return this.#files.list();
  }

  /**
   * Removes all files except those that are being written.
   * @returns the removed files
   * @throws LongVLMError `ERR_LONGVLM_FILE` when the folder cannot be read, or a file cannot be removed
   */
  clear(): Promise<CachedVideo[]> {
    return this.#files.clear();
  }
}

/** The limit of the user's cache. @throws RangeError */
function usualLimit(): number {
  const limit = Number(process.env.LONGVLM_CACHE_LIMIT || defaultMaxBytes);
  if (limit >= 0) return limit;
  throw new RangeError(
    `Expected a number of bytes for LONGVLM_CACHE_LIMIT but received ${process.env.LONGVLM_CACHE_LIMIT}`,
  );
}

function objectOf(key: string): string {
  return `${key}.safetensors`;
}

/** Loads cached features; undefined for a file that is missing, damaged, or holds other features. */
async function load(file: string, matches: (features: VideoFeatures) => boolean): Promise<VideoFeatures | undefined> {
  try {
    const features = await VideoFeatures.load(file);
    return matches(features) ? features : undefined;
  } catch (error) {
    if (error instanceof LongVLMError) return undefined;
    throw error;
  }
}

/** @throws TypeError if `cache` is neither a boolean nor a {@link FeaturesCache} */
export function checkCache(cache: unknown): asserts cache is boolean | FeaturesCache {
  if (typeof cache !== 'boolean' && !(cache instanceof FeaturesCache))
    wrongType('cache', 'boolean or FeaturesCache', cache);
}
