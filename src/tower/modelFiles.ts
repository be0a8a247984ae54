// What the files of a model say first, by which a family knows whether it is one of its own.
import { isFolder } from '../base/regularFile.js';
import { type ConfigPart, isObject, partOf, readConfigFileIfThere } from '../files/configFile.js';
import { type GgufFile, openGguf } from '../files/gguf.js';
import { isGguf } from '../files/openWeights.js';
import { type VisionFiles, visionFiles } from './huggingFace/files.js';

/** A Hugging Face folder with a config.json. */
export type ModelFolder = {
  readonly gguf: undefined;
  readonly files: VisionFiles;
  readonly config: ConfigPart;
  /** `model_type` of the whole, and of its `vision_config`; undefined where there is none, or it is no text. */
  readonly type: string | undefined;
  readonly visionType: string | undefined;
};

/** A GGUF file, or the files of a folder. */
export type ModelFiles = { readonly gguf: GgufFile } | ModelFolder;

/**
 * Reads the beginning of a model; undefined where neither of both is there.
 * @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS`
 */
export async function modelFiles(path: string): Promise<ModelFiles | undefined> {
  const files = await visionFiles(path);
  if (!(await isFolder(path)) && (await isGguf(path))) return { gguf: await openGguf(path) };
  const config = await readConfigFileIfThere(files.config);
  if (!config) return undefined;
  const vision = partOf(config, 'vision_config');
  return {
    gguf: undefined,
    files,
    config,
    type: typeOf(config),
    visionType: isObject(vision) ? typeOf(vision) : undefined,
  };
}

function typeOf(part: ConfigPart): string | undefined {
  const { value } = partOf(part, 'model_type');
  return typeof value === 'string' ? value : undefined;
}
