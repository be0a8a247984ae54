// Where a vision tower may come from.
import { stat } from 'node:fs/promises';
import { withoutQuantization } from '../weights/dequantized.js';
import { openWeights } from '../weights/open.js';
import { openSafetensors } from '../weights/safetensors.js';
import { readVisionConfig, type VisionConfig, visionFiles } from './config.js';
import { findMmprojTower, readMmprojConfig } from './mmproj.js';
import type { TowerWeights } from './tower.js';
import { findTowerWeights } from './weights.js';

/** A vision tower before it is started. */
export type TowerSource = {
  readonly config: VisionConfig;
  readonly weights: TowerWeights;
};

/**
 * The tower of a Hugging Face CLIP folder, of the .safetensors file in one, or of an mmproj file.
 * @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS`, `ERR_LONGVLM_UNSUPPORTED`
 */
export async function openTower(path: string): Promise<TowerSource> {
  const isFile = await stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
  if (isFile && !path.endsWith('.safetensors')) {
    const file = await openWeights(path);
    if (file.format === 'gguf') {
      const config = readMmprojConfig(file);
      return { config, weights: findMmprojTower(await withoutQuantization(file), config) };
    }
  }
  const files = await visionFiles(path);
  const config = await readVisionConfig(files);
  return { config, weights: findTowerWeights(await openSafetensors(files.weights), config) };
}
