import type { FileStates } from '../base/fileState.js';
import { hashOf } from '../base/hash.js';
import type { OnProgress } from '../base/progress.js';
import { SharedWork } from '../cache/sharedWork.js';
import type { Video } from '../video/openVideo.js';
import type { InnerOptions } from './encodeVideo.js';
import type { VideoFeatures } from './videoFeatures.js';

/** A video that is open, and what its features depend on beside it. */
export type OpenedInput = {
  readonly video: Video;
  /** Whether it is a list of pictures. */
  readonly isList: boolean;
  /** What its files were when it was opened. */
  readonly before: FileStates;
  readonly identity: object;
};

type Asking = Pick<InnerOptions, 'scheduler' | 'owners'> & {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
};

/** Encodings without a cache: scheduled requests that are equal share one, as they do through a cache. */
export class SharedEncodings {
  readonly #shared = new SharedWork();

  /** @throws what `encode` throws; `signal.reason` */
  async run(
    opened: OpenedInput,
    encode: (signal: AbortSignal | undefined, onProgress: OnProgress | undefined) => Promise<VideoFeatures>,
    { scheduler, owners, signal, onProgress }: Asking,
  ): Promise<VideoFeatures> {
    if (!scheduler) return encode(signal, onProgress);
    const { video, identity } = opened;
    const key = hashOf({ content: await contentOf(opened, signal), name: video.name, owners, identity });
    return this.#shared.run(key, encode, { signal, onProgress });
  }
}

/** What a video is known by for the moment: a file of the user's by its state, as it may be large. */
async function contentOf(
  { video, isList, before: [state] }: OpenedInput,
  signal: AbortSignal | undefined,
): Promise<string> {
  return state && !isList ? state.whole : video.contentHash(signal);
}
