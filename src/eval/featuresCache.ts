import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { LongVLMError } from '../errors.js';
import { VideoFeatures } from '../features.js';
import type { LongVLM } from '../longvlm.js';
import { fileError } from '../weights/tensorFile.js';
import { hashFile, hashOf } from './fingerprint.js';

/** Features of videos in a folder, for a later evaluation with the same tower and sampling. */
export class FeaturesCache {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** @throws LongVLMError `ERR_LONGVLM_FILE` when there is no such folder and none can be made */
  static async open(folder: string): Promise<FeaturesCache> {
    await mkdir(folder, { recursive: true }).catch((error: unknown) => {
      throw fileError(folder, error);
    });
    return new FeaturesCache(folder);
  }

  /** The video's features: from the folder where they are whole and fit, else encoded and put there. */
  async featuresOf(vlm: LongVLM, video: string, signal: AbortSignal | undefined): Promise<VideoFeatures> {
    const { tower, sampling } = vlm;
    const content = await hashFile(video, signal);
    const file = path.join(this.#folder, `${hashOf({ content, tower, sampling })}.safetensors`);
    const kept = await load(file, tower);
    if (kept !== undefined && hashOf(kept.sampling) === hashOf(sampling)) return kept;
    const features = await vlm.encode(video, { ...(signal && { signal }) });
    await features.save(file);
    return features;
  }
}

/** Nothing for a file that is missing, damaged, or of another tower: it is made again. */
async function load(file: string, tower: string): Promise<VideoFeatures | undefined> {
  try {
    return await VideoFeatures.load(file, { tower });
  } catch (error) {
    if (error instanceof LongVLMError) return undefined;
    throw error;
  }
}
