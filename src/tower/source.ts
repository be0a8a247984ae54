// Where a vision tower may come from.
import { withoutQuantization } from '../cache/withoutQuantization.js';
import { openWeights } from '../files/openWeights.js';
import { readVisionConfig, type VisionConfig, visionFiles } from './clip/huggingFaceConfig.js';
import { findTowerWeights } from './clip/huggingFaceTower.js';
import { findMmprojTower, readMmprojConfig } from './clip/mmprojTower.js';
import type { TowerWeights } from './clip/towerGraph.js';

/** A vision tower before it is started. */
export type TowerSource = { readonly config: VisionConfig; readonly weights: TowerWeights };

/**
 * The tower of a Hugging Face folder, of the weights in one, or of an mmproj file.
 * @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS`, `ERR_LONGVLM_UNSUPPORTED`; `signal.reason`
 */
export async function openTower(path: string, signal?: AbortSignal): Promise<TowerSource> {
  const files = await visionFiles(path);
  const file = await openWeights(files.weights);
  if (file.format === 'gguf') {
    const config = readMmprojConfig(file);
    return { config, weights: findMmprojTower(await withoutQuantization(file, { signal }), config) };
  }
  const config = await readVisionConfig(files);
  return { config, weights: findTowerWeights(file, config) };
}
