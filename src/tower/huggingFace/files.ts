// The files of a Hugging Face folder that say how its vision tower is computed.
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileError } from '../../base/fileError.js';
import { jsonObject } from '../../base/schema.js';
import { type ConfigPart, isSet, partOf, readConfigFileIfThere, readPart } from '../../files/configFile.js';

/** Where a tower's parts lie. */
export type VisionFiles = {
  readonly config: string;
  readonly processor: string;
  readonly preprocessor: string;
  readonly videoPreprocessor: string;
  readonly weights: string;
};

/**
 * The files of a folder, given the folder or the weights in it; `weights` may be the folder, where they have to be found.
 * @throws LongVLMError `ERR_LONGVLM_FILE` when `path` does not exist.
 */
export async function visionFiles(path: string): Promise<VisionFiles> {
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    (error: unknown) => Promise.reject(fileError(path, error)),
  );
  const folder = isFolder ? path : dirname(path);
  return {
    config: join(folder, 'config.json'),
    processor: join(folder, 'processor_config.json'),
    preprocessor: join(folder, 'preprocessor_config.json'),
    videoPreprocessor: join(folder, 'video_preprocessor_config.json'),
    weights: path,
  };
}

/**
 * The settings of the image processor; none where no file has them. As transformers does: the nested ones of its version 5 go
 * before the file of its own.
 */
export async function readImageProcessor(files: VisionFiles): Promise<ConfigPart> {
  return (
    (await nestedProcessor(files, 'image_processor')) ??
    (await readConfigFileIfThere(files.preprocessor)) ?? { file: files.preprocessor, name: '', value: {} }
  );
}

/** The settings of the video processor; undefined where no file has them. */
export async function readVideoProcessor(files: VisionFiles): Promise<ConfigPart | undefined> {
  return (await nestedProcessor(files, 'video_processor')) ?? (await readConfigFileIfThere(files.videoPreprocessor));
}

async function nestedProcessor({ processor }: VisionFiles, key: string): Promise<ConfigPart | undefined> {
  const root = await readConfigFileIfThere(processor);
  const nested = root && partOf(root, key);
  if (!nested || !isSet(nested)) return undefined;
  readPart(jsonObject, nested);
  return nested;
}
